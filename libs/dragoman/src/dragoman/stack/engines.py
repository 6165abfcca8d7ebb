"""The engines of the stack's language models: which there are, and how each is started."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dragoman.stack.credentials import Credentials
from dragoman.stack.llm_server import PROMPT_CACHE_MIB, SPIN_COUNT
from dragoman.stack.ports import HOST, Ports
from dragoman.stack.process import Program, find_binary, pip_brings
from dragoman.stack.servers import http_health

JUDGE = "qwen2.5-coder-1.5b-instruct-q4_k_m"
EMBEDDER = "all-minilm-l6-v2"
LLAMA_CPP, LLAMA_SERVER, VLLM = "llama.cpp", "llama-server", "vllm"
"""Engines that the stack can start: llama.cpp as a wheel brings it, llama.cpp as the user has built it, vLLM."""
_VLLM_SLOTS = 64
_BUILD_IT = "build llama.cpp for this machine or install a package of it, and have it on the PATH"


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
    """LLAMA_CPP, LLAMA_SERVER or VLLM."""

    @classmethod
    def vllm(cls, model: str) -> "LlmChoice":
        """Returns the choice of a model, a folder or a hub id, that vLLM serves to many requests at a time."""
        return cls(model, slots=_VLLM_SLOTS, engine=VLLM)

    @property
    def alias(self) -> str:
        """Name of the model in the API."""
        return self.model if self.url else Path(self.model).name.removesuffix(".gguf")


def language_model(path: Path, choice: LlmChoice, ports: Ports, credentials: Credentials) -> Program:
    """llama.cpp behind OpenAI's API, with the model at `path`.

    Raises FailedPrecondition where the user's own build is asked for and none is on the PATH.
    """
    if choice.engine == LLAMA_SERVER:
        return _own_build(path, choice, ports, credentials)
    flags = ["--slots", str(choice.slots), "--threads", str(choice.threads), "--ctx", str(choice.context)]
    command = _wheel(path, choice.alias, ports.of("llm"), *flags)
    return _engine("llm", ports, command, {"DRAGOMAN_LLM_API_KEY": credentials.llm_api_key}, patience=180)


def _own_build(path: Path, choice: LlmChoice, ports: Ports, credentials: Credentials) -> Program:
    command = [
        find_binary("llama-server", _BUILD_IT), "--model", str(path), "--alias", choice.alias, "--host", HOST,
        "--port", str(ports.of("llm")), "--parallel", str(choice.slots),
        "--ctx-size", str(choice.context * choice.slots), "--cache-ram", str(PROMPT_CACHE_MIB), "--metrics",
        "--log-verbosity", "2",
    ]  # fmt: skip
    if choice.threads:
        command += ["--threads", str(choice.threads)]
    environ = {"LLAMA_API_KEY": credentials.llm_api_key, "GOMP_SPINCOUNT": SPIN_COUNT}
    return _engine("llm", ports, command, environ, patience=180)


def vllm(choice: LlmChoice, ports: Ports, credentials: Credentials) -> Program:
    """vLLM behind OpenAI's API; it keeps prefixes, and tells how many tokens of a prompt it had.

    Raises FailedPrecondition where it is not installed.
    """
    command = [
        find_binary("vllm", pip_brings("vllm", "vllm")), "serve", choice.model, "--served-model-name", choice.alias,
        "--host", HOST, "--port", str(ports.of("llm")), "--max-model-len", str(choice.context),
        "--max-num-seqs", str(choice.slots), "--enable-prefix-caching", "--enable-prompt-tokens-details",
    ]  # fmt: skip
    environ = {"VLLM_API_KEY": credentials.llm_api_key, "VLLM_NO_USAGE_STATS": "1"}
    # It may fetch the model, and compiles it.
    return _engine("llm", ports, command, environ, patience=1800, grace=10)


def embedder(path: Path, alias: str, ports: Ports, credentials: Credentials) -> Program:
    """llama.cpp with an embedding model: `/v1/embeddings`. One thread: it embeds a window in milliseconds."""
    flags = ["--slots", "2", "--threads", "1", "--ctx", "512", "--embedding"]
    command = _wheel(path, alias, ports.of("embedder"), *flags)
    return _engine("embedder", ports, command, {"DRAGOMAN_LLM_API_KEY": credentials.llm_api_key}, patience=60)


def _wheel(path: Path, alias: str, port: int, *flags: str) -> list[str]:
    module = [sys.executable, "-m", "dragoman.stack.llm_server"]
    return [*module, "--model", str(path), "--alias", alias, "--port", str(port), *flags]


def _engine(
    name: str, ports: Ports, command: Sequence[str], environ: Mapping[str, str], *, patience: float, grace: float = 3
) -> Program:
    url = f"http://{ports.address(name)}"
    check = partial(http_health, f"{url}/health")
    return Program(name, command, environ, check, patience, grace, address=url)
