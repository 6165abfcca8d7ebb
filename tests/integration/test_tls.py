"""TLS towards a real NATS server and a real object store, with an authority of our own and mutual TLS."""

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dragoman.bus import Bus, BusConfig
from dragoman.client_tls import ClientTls
from dragoman.errors import InvalidSpec, NotFound, Unavailable
from dragoman.settings import Settings
from dragoman.store import Store, StoreConfig

from tests.support.cluster import free_port

BIN = Path(sys.executable).parent
TLS = Path(__file__).parents[1] / "support" / "tls"
CERTIFICATE, KEY = TLS / "localhost.pem", TLS / "localhost.key"
OURS = ClientTls(CERTIFICATE, CERTIFICATE, KEY)


@pytest.fixture(scope="module")
def nats_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A NATS server that wants TLS on both sides."""
    root, port = tmp_path_factory.mktemp("nats"), free_port()
    (root / "nats.conf").write_text(
        f'listen: 127.0.0.1:{port}\njetstream {{ store_dir: "{root}/js" }}\n'
        f'tls {{ cert_file: "{CERTIFICATE}", key_file: "{KEY}", ca_file: "{CERTIFICATE}", verify: true }}\n'
    )
    server = subprocess.Popen([str(BIN / "nats-server"), "-c", str(root / "nats.conf")], stderr=subprocess.DEVNULL)
    yield port
    server.kill()
    server.wait()


def _connect(config: BusConfig) -> bool:
    async def go() -> bool:
        bus = Bus(config)
        await bus.connect()
        try:
            return bus.connected
        finally:
            await bus.close()

    return asyncio.run(go())


def test_the_bus_speaks_mutual_tls(nats_port: int) -> None:
    away = free_port()
    urls = f"tls://localhost:{away}, tls://localhost:{nats_port}"
    assert _connect(BusConfig(urls, uuid.uuid4().hex, tls=OURS))


@pytest.mark.parametrize("tls", [None, ClientTls(CERTIFICATE)], ids=["unknown authority", "no certificate of ours"])
def test_a_server_that_is_not_trusted_or_does_not_trust_us_is_not_used(nats_port: int, tls: ClientTls | None) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        _connect(BusConfig(f"tls://localhost:{nats_port}", "never", tls=tls, patience=2))


@pytest.fixture(scope="module")
def store_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An object store over https."""
    root = tmp_path_factory.mktemp("store")
    ports = {name: free_port() for name in ("s3", "s3.port.https", "master", "volume", "filer")}
    identity = {"name": "app", "credentials": [{"accessKey": "k", "secretKey": "s3cret-key"}]}
    identity["actions"] = ["Admin", "Read", "List", "Tagging", "Write"]  # type: ignore[assignment]
    (root / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (root / "data").mkdir()
    command = [str(BIN / "weed"), "mini", f"-dir={root}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" if "." in name else f"-{name}.port={port}" for name, port in ports.items()]
    command += [f"-s3.cert.file={CERTIFICATE}", f"-s3.key.file={KEY}", f"-s3.config={root}/s3.json"]
    command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield ports["s3.port.https"]
    server.kill()
    server.wait()


def _store(port: int, tls: ClientTls | None, patience: float) -> Store:
    return Store(StoreConfig(f"https://localhost:{port}", "k", "s3cret-key", tls=tls, patience=patience))


def test_the_store_is_used_over_https(store_port: int) -> None:
    store = _store(store_port, ClientTls(CERTIFICATE), 30)
    store.probe()
    store.objects.put_bytes("a", b"over tls")
    assert store.objects.get_bytes("a") == b"over tls"
    assert store.trouble() == ""
    started = time.monotonic()
    with pytest.raises(Unavailable, match="certificate verify failed"):
        _store(store_port, None, 1).probe()
    assert time.monotonic() - started < 20


def test_settings_name_the_files(tmp_path: Path) -> None:
    told = {"DRAGOMAN_NATS_TLS_CA": str(CERTIFICATE), "DRAGOMAN_S3_TLS_CERTIFICATE": str(CERTIFICATE)}
    told |= {"DRAGOMAN_S3_TLS_KEY": str(KEY)}
    settings = Settings.from_env(told, "scorer")
    assert settings.bus.tls == ClientTls(CERTIFICATE)
    assert settings.store.tls == ClientTls(None, CERTIFICATE, KEY)
    with pytest.raises(InvalidSpec, match="DRAGOMAN_NATS_TLS_CERTIFICATE: only one of certificate and key"):
        Settings.from_env({"DRAGOMAN_NATS_TLS_KEY": str(KEY)}, "scorer")
    with pytest.raises(NotFound, match=r"missing\.pem is not a file; expected a PEM file"):
        Settings.from_env({"DRAGOMAN_S3_TLS_CA": str(tmp_path / "missing.pem")}, "scorer")
