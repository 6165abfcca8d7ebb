"""Does a training task: activations in, coders and their curves out. Imports torch."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from dragoman.errors import UserTaskError
from dragoman.kinds import Checkpoint, Context, Part, Progress

from sae_trainer.activation_stream import ActivationStream, Loading
from sae_trainer.checkpoint_file import read_checkpoint, write_checkpoint
from sae_trainer.coder_run import CoderRun
from sae_trainer.config import Config
from sae_trainer.core.pace import Pace
from sae_trainer.core.run_length import ImpossibleRun
from sae_trainer.device import check_kernels, prepared_device
from sae_trainer.feed import Feed, LoadModel, stored_feed, streamed_feed
from sae_trainer.planned_run import PlannedRun, held_by, planned
from sae_trainer.run_memory import check_worker_memory
from sae_trainer.spec import CoderSpec
from sae_trainer.window_filler import Rows

_REPORT_SECONDS = 0.5
_SAMPLE_TOKENS = 16_384
"""Tokens that the first coder and the factor of its inputs are made from."""
_REPORTED = ("fvu", "l0", "dead_fraction", "learning_rate")


class Member(NamedTuple):
    """A coder among those that are trained together."""

    spec: CoderSpec
    coder_id: str
    """What its weights are drawn by."""
    prefix: str = ""
    """Before the names of its parts."""


def train(
    members: Sequence[Member], context: Context, config: Config, load: LoadModel
) -> Iterator[Progress | Part | Checkpoint]:
    """Trains coders on the same tokens, from the newest checkpoint when there is one, and yields their files.

    All take their activations, batches and number of steps from the first one's spec.
    """
    device = prepared_device(config)
    check_kernels(config)
    feed = yield from _feed([member.spec for member in members], context, config, load)
    plans = [_planned(member.spec, feed) for member in members]
    check_worker_memory(held_by(plans, feed.buffer_bytes, feed.model_bytes), plans, config, device)
    runs = [
        CoderRun(plan, member.coder_id, device, config.kernels, config.wandb_project)
        for plan, member in zip(plans, members, strict=True)
    ]
    training = _Training(runs, feed, context, device)
    with ExitStack() as trained:
        for run in runs:
            trained.callback(run.close)
        with training.stream:
            yield from training.begin()
            yield from training.steps()
        for number, (run, member) in enumerate(zip(runs, members, strict=True)):
            yield from run.parts(context.scratch / f"coder-{number}", member.prefix)


def _feed(
    specs: Sequence[CoderSpec], context: Context, config: Config, load: LoadModel
) -> Generator[Progress, None, Feed]:
    streamed = specs[0].streamed
    if streamed is None:
        return stored_feed(specs[0], context, config)
    named = (name for spec in specs for name in (spec.hookpoint, spec.output_hookpoint) if name)
    return (yield from streamed_feed(streamed, list(dict.fromkeys(named)), context, load))


def _planned(spec: CoderSpec, feed: Feed) -> PlannedRun:
    try:
        return planned(spec, *feed.pair(spec))
    except ImpossibleRun as error:
        raise UserTaskError(str(error), reason="IMPOSSIBLE_RUN") from error


class _Training:
    """Coders in lockstep: each step of the first is a step of all."""

    def __init__(self, runs: Sequence[CoderRun], feed: Feed, context: Context, device: torch.device) -> None:
        self._runs, self._order, self._context, self._device = runs, feed.order, context, device
        self._length = runs[0].run
        self.stream = ActivationStream(feed.reader, feed.order)
        self._reported = time.monotonic()
        self._pace = Pace(self._reported, 0)

    def begin(self) -> Iterator[Progress]:
        """Takes up the checkpoint, or makes the first coders from the first tokens."""
        if self._context.checkpoint is not None:
            saved = read_checkpoint(self._context.checkpoint, len(self._runs), self._order.seed)
            if saved is not None:
                for run, own in zip(self._runs, saved, strict=True):
                    run.resume(own)
                yield self._progress(f"resumed at step {self._done}")
                return
            yield self._progress("the checkpoint is damaged or of another run; starting again")
        sample = yield from self._next(self.stream.batches(0, min(_SAMPLE_TOKENS, self._order.epoch_tokens)))
        for run in self._runs:
            run.begin(sample)

    def steps(self) -> Iterator[Progress | Checkpoint]:
        """Trains to the end."""
        done, batch_tokens = self._done, self._length.batch_tokens
        batches = self.stream.batches(done * batch_tokens, batch_tokens)
        for step in range(done + 1, self._length.step_count + 1):
            batch = yield from self._next(batches)
            if step == done + 1:
                self._pace = Pace(time.monotonic(), done * batch_tokens)
            yield from self._step({name: rows.to(self._device, torch.float32) for name, rows in batch.items()})
            last = step == self._length.step_count
            if step % self._runs[0].spec.checkpoint_steps == 0 and not last:
                yield self._checkpoint()
            if last or self._is_time():
                yield self._report()

    @property
    def _done(self) -> int:
        """Steps that all have taken: the last one takes them after the others."""
        return len(self._runs[-1].curve)

    def _step(self, batch: Rows) -> Iterator[Progress]:
        for number, run in enumerate(self._runs):
            if number and self._is_time():
                yield self._report()
            try:
                run.step(batch)
            except UserTaskError as error:
                if len(self._runs) == 1:
                    raise
                raise UserTaskError(f"coders[{number}]: {error.message}", reason=error.reason) from error

    def _is_time(self) -> bool:
        return time.monotonic() - self._reported >= _REPORT_SECONDS

    def _report(self) -> Progress:
        self._reported = time.monotonic()
        self._pace.mark(self._reported, self._done * self._length.batch_tokens)
        for run in self._runs:
            run.show()
        return self._progress("training")

    def _next(self, batches: Iterator[Loading | Rows]) -> Generator[Progress, None, Rows]:
        """Yields signs of life until a batch is there, and returns it."""
        for item in batches:
            if not isinstance(item, Loading):
                return item
            yield self._progress(f"reading activations: {item.token_count:,} of {item.total:,} tokens")
        raise AssertionError("batches never end")

    def _checkpoint(self) -> Checkpoint:
        path = self._context.scratch / "checkpoint.safetensors"
        write_checkpoint(path, [run.saved() for run in self._runs], self._order.seed)
        return Checkpoint(path)

    def _progress(self, message: str) -> Progress:
        """Says how far all are; measures are means over the coders."""
        total = self._length.step_count * self._length.batch_tokens
        metrics: dict[str, float] = {}
        if self._done:
            points = [run.curve[self._done - 1] for run in self._runs]
            metrics = {name: sum(getattr(point, name) for point in points) / len(points) for name in _REPORTED}
        left = self._pace.seconds_left(total)
        if left is not None:
            metrics |= {"tokens_per_second": self._pace.tokens_per_second, "seconds_left": left}
        return Progress(self._done * self._length.batch_tokens, total, "tokens", message, metrics)
