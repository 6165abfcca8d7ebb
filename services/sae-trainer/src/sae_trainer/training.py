"""Does a training task: activations in, a coder and its curve out. Imports torch."""

import math
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sparse_coders
import torch
from dragoman.errors import UserTaskError
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Checkpoint, Context, Part, Progress
from sparse_coders import StepReport, TopKTrainer
from torch import Tensor

from sae_trainer.activation_stream import ActivationStream, Loading
from sae_trainer.checkpoint_file import Saved, read_checkpoint, write_checkpoint
from sae_trainer.coder_figures import coder_figures
from sae_trainer.config import Config
from sae_trainer.core.curve import Point, curve_end
from sae_trainer.core.run_length import Run, run_of
from sae_trainer.core.token_order import TokenOrder
from sae_trainer.device import prepared_device
from sae_trainer.source import source_of
from sae_trainer.spec import CoderSpec

CURVE_FILE = "curves.parquet"
_REPORT_SECONDS = 0.5
_SAMPLE_TOKENS = 16_384
"""Tokens whose mean b_dec starts at."""


def train(spec: CoderSpec, context: Context, config: Config) -> Iterator[Progress | Part | Checkpoint]:
    """Trains a coder, from the newest checkpoint when there is one, and yields its files."""
    training = _Training(spec, context, config)
    yield from training.begin()
    yield from training.steps()
    yield from training.parts()


class _Training:
    def __init__(self, spec: CoderSpec, context: Context, config: Config) -> None:
        artifact = context.inputs["activations"]
        self._source = source_of(artifact.manifest, spec.hookpoint)
        self._spec, self._context = spec, context
        self._run: Run = run_of(spec, self._source.d_model, self._source.token_count)
        capacity = max(1, config.shuffle_bytes // (self._source.d_model * _item_bytes(artifact.manifest.statistics)))
        order = TokenOrder(self._source.shard_sizes, capacity, derived_seed(context.job_id, spec.seed, "order"))
        self._order, self._stream = order, ActivationStream(artifact, self._source, order)
        self._device = prepared_device(config)
        self._curve: list[Point] = []
        self._trainer: TopKTrainer | None = None

    def begin(self) -> Iterator[Progress]:
        """Takes up the checkpoint, or makes the first coder from the first tokens."""
        if self._context.checkpoint is not None:
            saved = read_checkpoint(self._context.checkpoint)
            if saved is not None and saved.permutation_seed == self._order.seed:
                self._resume(saved)
                yield self._progress(f"resumed at step {len(self._curve)}")
                return
            yield self._progress("the checkpoint is damaged or of another run; starting again")
        size = min(_SAMPLE_TOKENS, self._order.epoch_tokens)
        sample = yield from self._next(self._stream.batches(0, size))
        seed = derived_seed(self._context.job_id, self._spec.seed, "weights")
        coder = sparse_coders.initial_coder(
            self._source.d_model, self._run.d_sae, self._spec.k, sample.float(), seed % 2**63
        )
        self._trainer = self._new_trainer(coder)

    def steps(self) -> Iterator[Progress | Checkpoint]:
        """Trains to the end."""
        done = len(self._curve)
        batches = self._stream.batches(done * self._run.batch_tokens, self._run.batch_tokens)
        reported = time.monotonic()
        for step in range(done, self._run.step_count):
            batch = yield from self._next(batches)
            self._step(step, batch.to(self._device, torch.float32))
            last = step + 1 == self._run.step_count
            if (step + 1) % self._spec.checkpoint_steps == 0 and not last:
                yield self._checkpoint()
            if last or time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                yield self._progress("training")

    def parts(self) -> Iterator[Part]:
        """Yields the coder in sparsify's layout and the curve."""
        folder = self._context.scratch / "coder"
        sparse_coders.save(self._trained.coder, folder)
        end: dict[str, Json] = dict(curve_end(self._curve)._asdict())
        hookpoint = self._source.hookpoint
        sizes: dict[str, Json] = {
            **coder_figures(self._trained.coder, hookpoint, hookpoint),
            "token_count": self._curve[-1].token_count,
            "step_count": len(self._curve),
        }
        yield Part(sparse_coders.CONFIG_FILE, folder / sparse_coders.CONFIG_FILE)
        yield Part(
            sparse_coders.WEIGHTS_FILE,
            folder / sparse_coders.WEIGHTS_FILE,
            row_count=self._run.d_sae,
            metadata=sizes | end,
        )
        path = folder / CURVE_FILE
        _write_curve(path, self._curve)
        yield Part(CURVE_FILE, path, row_count=len(self._curve))

    @property
    def _trained(self) -> TopKTrainer:
        assert self._trainer is not None, "begin() was not run to its end"
        return self._trainer

    def _new_trainer(self, coder: sparse_coders.TopKCoder) -> TopKTrainer:
        return TopKTrainer(coder.to(self._device), auxk_alpha=self._spec.auxk_alpha, dead_tokens=self._run.dead_tokens)

    def _resume(self, saved: Saved) -> None:
        coder = sparse_coders.TopKCoder(self._source.d_model, self._run.d_sae, self._spec.k)
        self._trainer = self._new_trainer(coder)
        self._trainer.load_state(saved.trainer)
        self._curve = list(saved.curve)

    def _next(self, batches: Iterator[Loading | Tensor]) -> Generator[Progress, None, Tensor]:
        """Yields signs of life until a batch is there, and returns it."""
        for item in batches:
            if not isinstance(item, Loading):
                return item
            yield self._progress(f"reading activations: {item.token_count:,} of {item.total:,} tokens")
        raise AssertionError("batches never end")

    def _step(self, step: int, batch: Tensor) -> None:
        rate = self._run.learning_rate(step)
        report = self._trained.step(batch, rate)
        _check_finite(report, step, rate)
        tokens = (step + 1) * self._run.batch_tokens
        self._curve.append(Point(step + 1, tokens, report.fvu, report.l0, report.dead_fraction, report.loss, rate))

    def _checkpoint(self) -> Checkpoint:
        path = self._context.scratch / "checkpoint.safetensors"
        write_checkpoint(path, Saved(self._trained.state(), self._curve, self._order.seed))
        return Checkpoint(path)

    def _progress(self, message: str) -> Progress:
        done = len(self._curve) * self._run.batch_tokens
        total = self._run.step_count * self._run.batch_tokens
        metrics: dict[str, float] = {}
        if self._curve:
            point = self._curve[-1]._asdict()
            metrics = {name: point[name] for name in ("fvu", "l0", "dead_fraction", "learning_rate")}
        return Progress(done, total, "tokens", message, metrics)


def _check_finite(report: StepReport, step: int, rate: float) -> None:
    if math.isfinite(report.loss):
        return
    raise UserTaskError(
        f"the loss is {report.loss} at step {step + 1}, learning rate {rate:.3g}: the run diverged, or a batch has no "
        "variance; lower learning_rate (the default is 2e-4 / sqrt(d_sae / 2^14)) or raise warmup_steps",
        reason="TRAINING_DIVERGED",
    )


def _item_bytes(statistics: Mapping[str, Any]) -> int:
    """Returns the bytes of one stored activation; 4 when the artifact does not say."""
    return 2 if statistics.get("dtype") in {"bfloat16", "float16"} else 4


def _write_curve(path: Path, points: list[Point]) -> None:
    integers = {"step", "token_count"}
    columns = {
        name: pa.array([getattr(p, name) for p in points], pa.int64() if name in integers else pa.float64())
        for name in Point._fields
    }
    pq.write_table(pa.table(columns), path)
