"""A trainer whose steps several processes of one machine do together, one for each GPU. Imports torch."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import sparse_coders
import torch
from dragoman.errors import SystemTaskError, UserTaskError
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from sparse_coders import CoderTrainer, SparseCoder, StepReport, TrainerOptions
from sparse_coders.split import check_shard, divided_names, joined_state
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.multiprocessing import get_context

from sae_trainer.distributed_rank import Command, Handover, Sharing, serve

_WAIT_SECONDS = 0.2
_END_SECONDS = 30.0


class DistributedTrainer:
    """Has the methods of `CoderTrainer` that a run calls, and its states. Use it as `with`, or close it.

    Batches are handed over in shared memory, states in files. The processes are started by torchrun's launcher, which
    ends all when one has died; nothing is started again here, for the task itself is tried again from its checkpoint.
    """

    kernels = CoderTrainer.kernels
    kernels_refused = CoderTrainer.kernels_refused

    def __init__(self, coder: SparseCoder, options: TrainerOptions, sharing: Sharing) -> None:
        """Starts the processes.

        Args:
            coder: The whole coder, on the CPU; holds the trained weights after `finish`.
            options: How it is trained.
            sharing: How the processes share the work.

        Raises:
            UserTaskError: the machine has fewer GPUs than the run has ranks.
            InvalidOption: the coder's latents cannot be divided so.
        """
        if sharing.device == "cuda" and torch.cuda.device_count() < sharing.ranks:
            raise UserTaskError(
                f"the run has {sharing.ranks} ranks, and this worker {torch.cuda.device_count()} GPUs; lower ranks, "
                "or give workers as many GPUs as the run has ranks",
                reason="TOO_FEW_GPUS",
            )
        if sharing.parallel == "latents":
            check_shard(coder, options, sharing.ranks)
        self.coder, self._sharing, self._divided = coder, sharing, divided_names(coder)
        self._failure: ChildFailedError | None = None
        self._folder = TemporaryDirectory(prefix="ranks-", ignore_cleanup_errors=True)
        self._files = Handover(Path(self._folder.name))
        sparse_coders.save(coder, self._files.first)
        self._x = torch.empty(sharing.batch_tokens, coder.d_model).share_memory_()
        self._y = torch.empty(sharing.batch_tokens, coder.d_out).share_memory_() if coder.transcoder else self._x
        pipes = [get_context("spawn").Pipe() for _ in range(sharing.ranks)]
        self._ends: list[Connection] = [ours for ours, _ in pipes]
        arguments = (sharing, self._files, options, [theirs for _, theirs in pipes], self._x, self._y)
        self._launcher = threading.Thread(target=self._launch, args=arguments, name="ranks", daemon=True)
        self._launcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], learning_rate: float) -> StepReport:
        """Trains on a batch of `batch_tokens`, see `CoderTrainer.step`. Raises SystemTaskError when a rank died."""
        self._x.copy_(x)
        if self._y is not self._x:
            self._y.copy_(y)
        report = self._ask("step", learning_rate)
        assert isinstance(report, StepReport)
        return report

    def state(self) -> dict[str, Tensor]:
        """Returns the state of one trainer of the whole coder."""
        self._ask("save")
        writers = self._sharing.ranks if self._sharing.parallel == "latents" else 1
        return joined_state([load_file(self._files.shard(rank)) for rank in range(writers)], self._divided)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where a trainer of the whole coder was, see `CoderTrainer.load_state`."""
        save_file({name: value.contiguous() for name, value in state.items()}, self._files.whole)
        self._ask("load")

    def finish(self) -> None:
        """Puts the finished weights into the coder. No step may follow."""
        self._ask("finish")
        state = self.state()
        for name, value in self.coder.named_parameters():
            value.data = state[f"weights.{name}"].clone()

    def close(self) -> None:
        """Ends the processes and removes what was handed over."""
        for end in self._ends:
            with suppress(OSError):  # that one has ended
                end.send(None)
        self._launcher.join(_END_SECONDS)
        self._folder.cleanup()

    def _launch(self, *arguments: object) -> None:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=self._sharing.ranks,
            run_id=self._files.folder.name,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
        )
        try:
            elastic_launch(config, serve)(*arguments)
        except ChildFailedError as error:
            self._failure = error

    def _ask(self, command: Command, argument: float = 0.0) -> StepReport | None:
        """Has all processes do something, waits for all and returns what the first one says."""
        try:
            for end in self._ends:
                end.send((command, argument))
            first, *_ = [self._heard(end) for end in self._ends]
        except (OSError, EOFError) as error:
            raise self._died() from error
        return first

    def _heard(self, end: Connection) -> StepReport | None:
        while not end.poll(_WAIT_SECONDS):
            if not self._launcher.is_alive():
                raise EOFError
        return end.recv()

    def _died(self) -> SystemTaskError:
        self._launcher.join(_END_SECONDS)
        why = "it ended without saying why"
        if self._failure is not None:
            rank, failure = self._failure.get_first_failure()
            why = f"rank {rank}: {failure.message}"
        return SystemTaskError(f"one of {self._sharing.ranks} training processes died; {why}", reason="RANK_DIED")
