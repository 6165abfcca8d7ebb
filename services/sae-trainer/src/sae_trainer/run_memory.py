"""Refuses runs that need more memory than there is, with what takes it. Imports no torch at import."""

from collections.abc import Sequence
from typing import Any

from dragoman.errors import UserTaskError
from dragoman.host_memory import GIB, host_memory_bytes

from sae_trainer.config import Config
from sae_trainer.core.footprint import Footprint
from sae_trainer.planned_run import PlannedRun


def too_large(held: Footprint, runs: Sequence[PlannedRun], config: Config, available: int, where: str) -> str | None:
    """Returns why runs that are trained together do not fit into a memory, with what they need; None when they do."""
    on_gpu = config.device == "cuda"
    needed = held.total - (held.weights + held.model if on_gpu else 0)
    if needed <= available:
        return None
    weights = "" if on_gpu else f"{_gib(held.weights)} for weights, gradients and optimiser, "
    model = f"{_gib(held.model)} for the model, " if held.model and not on_gpu else ""
    rest = f"{_gib(held.batches)} for batches, {_gib(held.shuffle)} to shuffle in, {_gib(held.working)} to work with"
    return f"the run needs {_gib(needed)}: {weights}{model}{rest}; {where} has {_gib(available)}. {_advice(runs)}"


def check_worker_memory(held: Footprint, runs: Sequence[PlannedRun], config: Config, device: Any) -> None:
    """Raises UserTaskError when this worker, or its GPU, is too small for runs that are trained together."""
    reason = too_large(held, runs, config, host_memory_bytes(), "this worker")
    if reason is None and device.type == "cuda":
        import torch

        memory = torch.cuda.get_device_properties(device).total_memory
        needed = held.weights // runs[0].spec.ranks + held.batches + held.model
        if needed > memory:
            reason = f"the run needs {_gib(needed)} on a GPU, {device} has {_gib(memory)}. {_advice(runs)}"
    if reason is not None:
        raise UserTaskError(reason, reason="RUN_TOO_LARGE")


def _advice(runs: Sequence[PlannedRun]) -> str:
    widest = max(planned.run.d_sae for planned in runs)
    fields = "batch_tokens or shuffle_tokens" if runs[0].spec.streamed else "batch_tokens"
    fewer = ", train fewer coders together" if len(runs) > 1 else ""
    return f"Lower d_sae (now {widest}) or {fields}{fewer}, or give a worker more memory"


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"
