"""Refuses a run that needs more memory than there is, with what takes it. Imports no torch at import."""

from typing import Any

from dragoman.errors import UserTaskError
from dragoman.host_memory import GIB, host_memory_bytes

from sae_trainer.config import Config
from sae_trainer.core.footprint import Footprint, footprint
from sae_trainer.core.run_length import Run
from sae_trainer.source import Source
from sae_trainer.spec import CoderSpec

_STORED_BYTES = 4
"""At most, of an activation."""


def too_large(
    spec: CoderSpec, run: Run, reads: Source, gives: Source, config: Config, available: int, where: str
) -> str | None:
    """Returns why a run does not fit into a memory, with what it needs; None when it does."""
    held = _held(spec, run, reads, gives, config)
    on_gpu = config.device == "cuda"
    needed = held.total - (held.weights if on_gpu else 0)
    if needed <= available:
        return None
    weights = "" if on_gpu else f"{_gib(held.weights)} for weights, gradients and optimiser, "
    rest = f"{_gib(held.batches)} for batches, {_gib(held.shuffle)} to shuffle in, {_gib(held.working)} to work with"
    return (
        f"the run needs {_gib(needed)}: {weights}{rest}; "
        f"{where} has {_gib(available)}. Lower d_sae (now {run.d_sae}) or batch_tokens, or give a worker more memory"
    )


def check_worker_memory(spec: CoderSpec, run: Run, reads: Source, gives: Source, config: Config, device: Any) -> None:
    """Raises UserTaskError when this worker, or its GPU, is too small for a run."""
    reason = too_large(spec, run, reads, gives, config, host_memory_bytes(), "this worker")
    if reason is None and device.type == "cuda":
        import torch

        held = _held(spec, run, reads, gives, config)
        memory = torch.cuda.get_device_properties(device).total_memory
        if held.weights + held.batches > memory:
            reason = (
                f"the run needs {_gib(held.weights + held.batches)} on a GPU, {device} has {_gib(memory)}; lower "
                f"d_sae (now {run.d_sae}) or batch_tokens, or use a larger GPU"
            )
    if reason is not None:
        raise UserTaskError(reason, reason="RUN_TOO_LARGE")


def _held(spec: CoderSpec, run: Run, reads: Source, gives: Source, config: Config) -> Footprint:
    width = reads.d_model + gives.d_model if spec.transcoder else reads.d_model
    shuffled = min(config.shuffle_bytes, reads.token_count * width * _STORED_BYTES)
    return footprint(spec, run, width, gives.d_model, shuffled)


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"
