"""Settings of the service, from environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dragoman.errors import FailedPrecondition
from dragoman.host_memory import GIB

Kernels = Literal["auto", "reference", "compiled", "triton"]


@dataclass(frozen=True, slots=True)
class Config:
    """What an operator may set."""

    torch_threads: int
    """SAE_TRAINER_TORCH_THREADS: threads of one worker. Default all cores. Another number may round otherwise."""
    device: str
    """SAE_TRAINER_DEVICE: "auto" (cuda where there is one), "cpu" or "cuda". Default auto."""
    shuffle_bytes: int
    """SAE_TRAINER_SHUFFLE_BYTES: memory for activations that are shuffled together. Default 2 GiB."""
    worker_memory_bytes: int | None = None
    """SAE_TRAINER_WORKER_MEMORY_GIB: host memory of the largest worker; runs that need more are refused at submit.

    Default: the memory of this machine, since the limit of an API process is not that of a worker. A worker checks
    again by the limit of its own control group.
    """
    cache: Path = Path("~/.dragoman/activation")
    """SAE_TRAINER_CACHE: models of this host. Default DRAGOMAN_HOME/activation, which the activation service fills."""
    trust_remote_code: bool = False
    """SAE_TRAINER_TRUST_REMOTE_CODE: "1" runs code that comes with a model, where a spec asks for it. Default 0."""
    kernels: Kernels = "auto"
    """SAE_TRAINER_KERNELS: what may take the steps of TopK coders with Adam, see `sparse_coders.trainer_of`. Default
    auto. Others may round otherwise."""
    wandb_project: str = ""
    """SAE_TRAINER_WANDB_PROJECT: where the curves of coders are shown while they are trained. Empty: nowhere."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads the settings. Raises FailedPrecondition where one cannot be used."""
        threads = _count(environ, "SAE_TRAINER_TORCH_THREADS", os.cpu_count() or 1)
        device = environ.get("SAE_TRAINER_DEVICE") or "auto"
        if device not in {"auto", "cpu", "cuda"}:
            raise FailedPrecondition(f"SAE_TRAINER_DEVICE is {device!r}; expected auto, cpu or cuda")
        trust = environ.get("SAE_TRAINER_TRUST_REMOTE_CODE") or "0"
        if trust not in {"0", "1"}:
            raise FailedPrecondition(f"SAE_TRAINER_TRUST_REMOTE_CODE is {trust!r}; expected 0 or 1")
        kernels = environ.get("SAE_TRAINER_KERNELS") or "auto"
        if kernels not in ("auto", "reference", "compiled", "triton"):
            raise FailedPrecondition(
                f"SAE_TRAINER_KERNELS is {kernels!r}; expected auto, reference, compiled or triton"
            )
        memory = _count(environ, "SAE_TRAINER_WORKER_MEMORY_GIB", 0) * GIB or None
        home = Path(environ.get("DRAGOMAN_HOME") or "~/.dragoman")
        cache = Path(environ.get("SAE_TRAINER_CACHE") or home / "activation")
        shuffle_bytes = _count(environ, "SAE_TRAINER_SHUFFLE_BYTES", 2 * GIB)
        project = environ.get("SAE_TRAINER_WANDB_PROJECT") or ""
        return cls(threads, device, shuffle_bytes, memory, cache, trust == "1", kernels, project)


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    raw = environ.get(name) or ""
    if not raw:
        return default
    if not raw.isdecimal() or int(raw) < 1:
        raise FailedPrecondition(f"{name} is {raw!r}; expected a whole number from 1")
    return int(raw)
