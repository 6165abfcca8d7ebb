"""Settings of the service, from environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dragoman.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Config:
    """What an operator may set."""

    torch_threads: int
    """SAE_TRAINER_TORCH_THREADS: threads of one worker. Default all cores. Another number may round otherwise."""
    device: str
    """SAE_TRAINER_DEVICE: "auto" (cuda where there is one), "cpu" or "cuda". Default auto."""
    shuffle_bytes: int
    """SAE_TRAINER_SHUFFLE_BYTES: memory for activations that are shuffled together. Default 2 GiB."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads the settings. Raises FailedPrecondition where one cannot be used."""
        threads = _count(environ, "SAE_TRAINER_TORCH_THREADS", os.cpu_count() or 1)
        device = environ.get("SAE_TRAINER_DEVICE") or "auto"
        if device not in {"auto", "cpu", "cuda"}:
            raise FailedPrecondition(f"SAE_TRAINER_DEVICE is {device!r}; expected auto, cpu or cuda")
        return cls(threads, device, _count(environ, "SAE_TRAINER_SHUFFLE_BYTES", 2 * 2**30))


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    raw = environ.get(name) or str(default)
    if not raw.isdecimal() or int(raw) < 1:
        raise FailedPrecondition(f"{name} is {raw!r}; expected a whole number from 1")
    return int(raw)
