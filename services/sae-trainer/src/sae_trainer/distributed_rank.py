"""What one of several processes that train a coder together does. Imports torch, and no more than it needs."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import sparse_coders
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from sparse_coders import CoderTrainer, SparseCoder, StepReport, TrainerOptions
from sparse_coders.group import Group
from sparse_coders.split import Split, divided_names, shard_of, shard_of_state
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import record

Command = Literal["step", "save", "load", "finish"]


@dataclass(frozen=True, slots=True)
class Sharing:
    """How processes share a run."""

    ranks: int
    parallel: Literal["data", "latents"]
    batch_tokens: int
    device: str
    """ "cuda", one device for each rank, or "cpu"."""
    threads: int
    """Of each process."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Files through which coders and states pass between processes."""

    folder: Path

    @property
    def first(self) -> Path:
        """The coder that training starts from."""
        return self.folder / "first"

    @property
    def whole(self) -> Path:
        """A state for all processes to load."""
        return self.folder / "whole.safetensors"

    def shard(self, rank: int) -> Path:
        """The state of one process."""
        return self.folder / f"{rank}.safetensors"


@record
def serve(
    sharing: Sharing, files: Handover, options: TrainerOptions, ends: Sequence[Connection], x: Tensor, y: Tensor
) -> None:
    """Does what it is told, together with the others, until it is told None or the one who tells has gone.

    Args:
        sharing: How the work is shared.
        files: Where coders and states are handed over.
        options: How the coder is trained.
        ends: By rank, where commands come from and answers go.
        x: Shared memory of a batch that the coder reads.
        y: Of what it shall give; x itself for an autoencoder.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(sharing.threads)
    on_gpu, local_rank = sharing.device == "cuda", int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        rank = _Rank(sharing.parallel, files, options, Group(dist.group.WORLD), device)
        commands = ends[local_rank]
        while (said := commands.recv()) is not None:
            command, argument = said
            commands.send(rank.do(command, argument, x, y))
    except EOFError:
        pass
    finally:
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """A task that is killed must not leave ranks that hold its GPUs, whatever they wait for."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Rank:
    def __init__(
        self, parallel: str, files: Handover, options: TrainerOptions, group: Group, device: torch.device
    ) -> None:
        coder: SparseCoder = sparse_coders.load(files.first, dtype=torch.float32)
        self._files, self._group, self._device = files, group, device
        self._divided = divided_names(coder)
        self._by_latents = parallel == "latents"
        if self._by_latents:
            coder = shard_of(coder, group.rank, group.size)
        split = Split(latents=group) if self._by_latents else Split(tokens=group)
        self._trainer = CoderTrainer(coder.to(device), options, split)

    def do(self, command: Command, argument: float, x: Tensor, y: Tensor) -> StepReport | None:
        """Does one thing; only a step has something to tell."""
        if command == "step":
            # A copy: the trainer may keep the batch, and the memory is that of the next one.
            own = x.to(self._device, copy=True)
            return self._trainer.step(own, own if y is x else y.to(self._device, copy=True), argument)
        if command == "load":
            self._load()
        elif command == "save":
            self._save()
        else:
            self._trainer.finish()
        return None

    def _save(self) -> None:
        if self._by_latents or self._group.rank == 0:
            state = {name: value.cpu().contiguous() for name, value in self._trainer.state().items()}
            path = self._files.shard(self._group.rank)
            path.unlink(missing_ok=True)  # an older one may still be mapped
            save_file(state, path)

    def _load(self) -> None:
        state = load_file(self._files.whole)
        if self._by_latents:
            state = shard_of_state(state, self._divided, self._group.rank, self._group.size)
        self._trainer.load_state(state)
