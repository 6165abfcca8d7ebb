"""Settings of the service, from environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dragoman.errors import FailedPrecondition
from dragoman.host_memory import GIB


@dataclass(frozen=True, slots=True)
class Config:
    """What an operator may set."""

    cache: Path
    """ACTIVATION_CACHE: models, tokenizers and fingerprints of this host. Default DRAGOMAN_HOME/activation."""
    torch_threads: int
    """ACTIVATION_TORCH_THREADS: threads of one worker. Default all cores."""
    device: str
    """ACTIVATION_DEVICE: "auto" (cuda where there is one), "cpu" or "cuda". Default auto."""
    trust_remote_code: bool = False
    """ACTIVATION_TRUST_REMOTE_CODE: "1" runs code that comes with a model, where a spec asks for it. Default 0."""
    worker_memory_bytes: int | None = None
    """ACTIVATION_WORKER_MEMORY_GIB: host memory of the largest worker; larger models are refused at submit.

    Default: the memory of this machine, since the limit of an API process is not that of a worker. A worker checks
    again, by what it has.
    """

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads the settings. Raises FailedPrecondition where one cannot be used."""
        home = Path(environ.get("DRAGOMAN_HOME") or "~/.dragoman").expanduser()
        cache = Path(environ.get("ACTIVATION_CACHE") or home / "activation").expanduser()
        threads = environ.get("ACTIVATION_TORCH_THREADS") or str(os.cpu_count() or 1)
        if not threads.isdecimal() or int(threads) < 1:
            raise FailedPrecondition(f"ACTIVATION_TORCH_THREADS is {threads!r}; expected a whole number from 1")
        device = environ.get("ACTIVATION_DEVICE") or "auto"
        if device not in {"auto", "cpu", "cuda"}:
            raise FailedPrecondition(f"ACTIVATION_DEVICE is {device!r}; expected auto, cpu or cuda")
        trust = environ.get("ACTIVATION_TRUST_REMOTE_CODE") or "0"
        if trust not in {"0", "1"}:
            raise FailedPrecondition(f"ACTIVATION_TRUST_REMOTE_CODE is {trust!r}; expected 0 or 1")
        memory = environ.get("ACTIVATION_WORKER_MEMORY_GIB") or ""
        if memory and (not memory.isdecimal() or int(memory) < 1):
            raise FailedPrecondition(f"ACTIVATION_WORKER_MEMORY_GIB is {memory!r}; expected a whole number from 1")
        return cls(cache, int(threads), device, trust == "1", int(memory) * GIB if memory else None)
