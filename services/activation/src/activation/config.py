"""Settings of the service, from environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dragoman.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Config:
    """What an operator may set."""

    cache: Path
    """ACTIVATION_CACHE: models, tokenizers and fingerprints of this host. Default DRAGOMAN_HOME/activation."""
    torch_threads: int
    """ACTIVATION_TORCH_THREADS: threads of one worker. Default all cores."""
    device: str
    """ACTIVATION_DEVICE: "auto" (cuda where there is one), "cpu" or "cuda". Default auto."""

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
        return cls(cache, int(threads), device)
