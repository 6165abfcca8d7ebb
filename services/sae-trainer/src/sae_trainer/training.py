"""Does a training task: activations in, a coder and its curve out. Imports torch."""

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import sparse_coders
import torch
from dragoman.errors import UserTaskError
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Checkpoint, Context, Part, Progress
from sparse_coders import CoderTrainer, SparseCoder, trainer_of

from sae_trainer.activation_stream import ActivationStream, Loading
from sae_trainer.checkpoint_file import Saved, read_checkpoint, write_checkpoint
from sae_trainer.coder_figures import coder_figures
from sae_trainer.coder_setup import blank_coder, first_coder, form_of, options_of
from sae_trainer.config import Config
from sae_trainer.core.architectures import BASELINES
from sae_trainer.core.curve import Point, curve_end
from sae_trainer.core.divergence import Diverged, DivergenceWatch
from sae_trainer.core.pace import Pace
from sae_trainer.core.run_length import Run, run_of
from sae_trainer.core.token_order import TokenOrder
from sae_trainer.curve_files import CURVE_FILE, CURVE_PAGE, curve_page, write_curve
from sae_trainer.device import prepared_device
from sae_trainer.run_memory import check_worker_memory
from sae_trainer.scaling import Scaling, fold, scaling_of
from sae_trainer.source import source_pair
from sae_trainer.spec import CoderSpec
from sae_trainer.window_filler import Batch

_REPORT_SECONDS = 0.5
_SAMPLE_TOKENS = 16_384
"""Tokens that the first coder and the factor of its inputs are made from."""
_REPORTED = ("fvu", "l0", "dead_fraction", "learning_rate")


def train(spec: CoderSpec, context: Context, config: Config) -> Iterator[Progress | Part | Checkpoint]:
    """Trains a coder, from the newest checkpoint when there is one, and yields its files."""
    training = _Training(spec, context, config)
    with training.stream:
        yield from training.begin()
        yield from training.steps()
    yield from training.parts()


class _Training:
    def __init__(self, spec: CoderSpec, context: Context, config: Config) -> None:
        artifact = context.inputs["activations"]
        self._reads, self._gives = source_pair(artifact.manifest, spec.hookpoint, spec.output_hookpoint)
        self._spec, self._context = spec, context
        self._run: Run = run_of(spec, self._reads.d_model, self._reads.token_count)
        order = self._order_of(config, _item_bytes(artifact.manifest.statistics))
        self._order, self.stream = order, ActivationStream(artifact, self._reads, self._gives, order)
        self._device = prepared_device(config)
        check_worker_memory(spec, self._run, self._reads, self._gives, config, self._device)
        self._options = options_of(spec, self._run, self._seed("resampling"))
        self._scaling = Scaling(1.0, 1.0)
        self._curve: list[Point] = []
        self._pace = Pace(time.monotonic(), 0)
        self._trainer: CoderTrainer | None = None

    def begin(self) -> Iterator[Progress]:
        """Takes up the checkpoint, or makes the first coder from the first tokens."""
        if self._context.checkpoint is not None:
            saved = read_checkpoint(self._context.checkpoint)
            if saved is not None and saved.permutation_seed == self._order.seed:
                self._resume(saved)
                yield self._progress(f"resumed at step {len(self._curve)}")
                return
            yield self._progress("the checkpoint is damaged or of another run; starting again")
        sample = yield from self._next(self.stream.batches(0, min(_SAMPLE_TOKENS, self._order.epoch_tokens)))
        x, y = sample.x.float(), sample.y.float()
        if self._spec.input_normalisation == "mean_norm":
            self._scaling = scaling_of(x, x if sample.y is sample.x else y)
        form = form_of(self._spec, self._run, self._reads.d_model, self._gives.d_model)
        x, y = x * self._scaling.reads, y * self._scaling.gives
        self._trainer = self._trainer_of(first_coder(self._spec, form, x, y, self._seed("weights")))

    def steps(self) -> Iterator[Progress | Checkpoint]:
        """Trains to the end."""
        done = len(self._curve)
        watch = self._watch()
        batches = self.stream.batches(done * self._run.batch_tokens, self._run.batch_tokens)
        reported = time.monotonic()
        for step in range(done, self._run.step_count):
            batch = yield from self._next(batches)
            if step == done:
                self._pace = Pace(time.monotonic(), done * self._run.batch_tokens)
            self._step(step, batch, watch)
            last = step + 1 == self._run.step_count
            if (step + 1) % self._spec.checkpoint_steps == 0 and not last:
                yield self._checkpoint()
            if last or time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                self._pace.mark(reported, (step + 1) * self._run.batch_tokens)
                yield self._progress("training")

    def parts(self) -> Iterator[Part]:
        """Yields the coder in sparsify's layout and the curve."""
        folder = self._context.scratch / "coder"
        coder = self._finished()
        sparse_coders.save(coder, folder)
        end: dict[str, Json] = dict(curve_end(self._curve)._asdict())
        sizes: dict[str, Json] = {
            **coder_figures(coder, self._reads.hookpoint, self._gives.hookpoint),
            "baseline": self._spec.architecture if self._spec.architecture in BASELINES else None,
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
        write_curve(path, self._curve)
        yield Part(CURVE_FILE, path, row_count=len(self._curve))
        yield Part(CURVE_PAGE, data=curve_page(self._curve, sizes | end))

    @property
    def _trained(self) -> CoderTrainer:
        assert self._trainer is not None, "begin() was not run to its end"
        return self._trainer

    def _order_of(self, config: Config, item_bytes: int) -> TokenOrder:
        width = _width(self._reads.d_model, self._gives.d_model, self._spec)
        capacity = max(1, config.shuffle_bytes // (width * item_bytes))
        return TokenOrder(self._reads.shard_sizes, capacity, self._seed("order"))

    def _seed(self, name: str) -> int:
        return derived_seed(self._context.job_id, self._spec.seed, name)

    def _watch(self) -> DivergenceWatch:
        warmup = self._run.step_count if self._spec.architecture == "random" else self._run.warmup_steps
        penalty = {"relu": "l1_coefficient", "gated": "l1_coefficient", "jumprelu": "l0_coefficient"}
        watch = DivergenceWatch(warmup, penalty.get(self._spec.architecture))
        for point in self._curve:
            watch.see(point)
        return watch

    def _trainer_of(self, coder: SparseCoder) -> CoderTrainer:
        return trainer_of(coder.to(self._device), self._options)

    def _resume(self, saved: Saved) -> None:
        form = form_of(self._spec, self._run, self._reads.d_model, self._gives.d_model)
        self._trainer = self._trainer_of(blank_coder(form))
        self._trainer.load_state(saved.trainer)
        self._scaling = saved.scaling
        self._curve = list(saved.curve)

    def _next(self, batches: Iterator[Loading | Batch]) -> Generator[Progress, None, Batch]:
        """Yields signs of life until a batch is there, and returns it."""
        for item in batches:
            if not isinstance(item, Loading):
                return item
            yield self._progress(f"reading activations: {item.token_count:,} of {item.total:,} tokens")
        raise AssertionError("batches never end")

    def _step(self, step: int, batch: Batch, watch: DivergenceWatch) -> None:
        rate = self._run.learning_rate(step)
        x = self._scaled(batch.x, self._scaling.reads)
        y = x if batch.y is batch.x else self._scaled(batch.y, self._scaling.gives)
        report = self._trained.step(x, y, rate)
        tokens = (step + 1) * self._run.batch_tokens
        point = Point(step + 1, tokens, report.fvu, report.l0, report.dead_fraction, report.loss, rate)
        try:
            watch.see(point)
        except Diverged as error:
            raise UserTaskError(str(error), reason="TRAINING_DIVERGED") from error
        self._curve.append(point)

    def _scaled(self, rows: torch.Tensor, factor: float) -> torch.Tensor:
        rows = rows.to(self._device, torch.float32)
        return rows if factor == 1.0 else rows * factor

    def _finished(self) -> SparseCoder:
        self._trained.finish()
        coder = self._trained.coder
        if self._spec.input_normalisation == "mean_norm":
            fold(coder, self._scaling)
        return coder

    def _checkpoint(self) -> Checkpoint:
        path = self._context.scratch / "checkpoint.safetensors"
        write_checkpoint(path, Saved(self._trained.state(), self._curve, self._order.seed, self._scaling))
        return Checkpoint(path)

    def _progress(self, message: str) -> Progress:
        done = len(self._curve) * self._run.batch_tokens
        total = self._run.step_count * self._run.batch_tokens
        metrics: dict[str, float] = {}
        if self._curve:
            point = self._curve[-1]._asdict()
            metrics = {name: point[name] for name in _REPORTED}
        left = self._pace.seconds_left(total)
        if left is not None:
            metrics |= {"tokens_per_second": self._pace.tokens_per_second, "seconds_left": left}
        return Progress(done, total, "tokens", message, metrics)


def _width(d_model: int, d_out: int, spec: CoderSpec) -> int:
    """Returns how many values are read of a token."""
    return d_model + d_out if spec.transcoder else d_model


def _item_bytes(statistics: Mapping[str, Any]) -> int:
    """Returns the bytes of one stored activation; 4 when the artifact does not say."""
    return 2 if statistics.get("dtype") in {"bfloat16", "float16"} else 4
