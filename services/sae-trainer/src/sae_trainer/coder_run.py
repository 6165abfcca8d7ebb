"""One coder in training: from its first sample, or a checkpoint, to its files. Imports torch."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import sparse_coders
import torch
from dragoman.errors import UserTaskError
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Part
from jaxtyping import Float
from sparse_coders import CoderTrainer, SparseCoder, trainer_of
from torch import Tensor

from sae_trainer.checkpoint_file import Saved
from sae_trainer.coder_figures import coder_figures
from sae_trainer.coder_setup import blank_coder, first_coder, form_of, options_of
from sae_trainer.config import Kernels
from sae_trainer.core.architectures import BASELINES
from sae_trainer.core.curve import Point, curve_end
from sae_trainer.core.divergence import Diverged, DivergenceWatch
from sae_trainer.curve_files import CURVE_FILE, CURVE_PAGE, curve_page, write_curve
from sae_trainer.planned_run import PlannedRun
from sae_trainer.scaling import Scaling, fold, scaling_of
from sae_trainer.wandb_curve import WandbCurve
from sae_trainer.window_filler import Rows

if TYPE_CHECKING:
    from sae_trainer.distributed import DistributedTrainer

_LOG = logging.getLogger(__name__)
_PENALTIES = {"relu": "l1_coefficient", "gated": "l1_coefficient", "jumprelu": "l0_coefficient"}


class CoderRun:
    """A coder, its trainer and its curve. It is given the same tokens as others that are trained beside it."""

    def __init__(
        self,
        plan: PlannedRun,
        coder_id: str,
        device: torch.device,
        kernels: Kernels = "auto",
        wandb_project: str = "",
    ) -> None:
        """Plans nothing and makes nothing yet; `begin` or `resume` does.

        Args:
            plan: What to train.
            coder_id: What weights and resampling are drawn by.
            device: Where.
            kernels: What may take the steps, see `sparse_coders.trainer_of`.
            wandb_project: Where `show` shows the curve; empty: nowhere.
        """
        self.spec, self.run, self.reads, self.gives = plan
        self.curve: list[Point] = []
        self._coder_id, self._device = coder_id, device
        self._kernels: Kernels = kernels
        self._wandb_project = wandb_project
        self._form = form_of(self.spec, self.run, self.reads.d_model, self.gives.d_model)
        self._options = options_of(self.spec, self.run, self._seed("resampling"))
        self._scaling = Scaling(1.0, 1.0)
        architecture = self.spec.architecture
        warmup = self.run.step_count if architecture == "random" else self.run.warmup_steps
        self._watch = DivergenceWatch(warmup, _PENALTIES.get(architecture))
        self._trainer: CoderTrainer | DistributedTrainer | None = None
        self._opened = ExitStack()
        self._told = False
        self._shown: WandbCurve | None = None

    def begin(self, sample: Rows) -> None:
        """Makes the first coder from the first tokens."""
        x = sample[self.reads.hookpoint].float()
        y = x if self.gives is self.reads else sample[self.gives.hookpoint].float()
        if self.spec.input_normalisation == "mean_norm":
            self._scaling = scaling_of(x, y)
        x, y = x * self._scaling.reads, y * self._scaling.gives
        self._trainer = self._trainer_of(first_coder(self.spec, self._form, x, y, self._seed("weights")))

    def resume(self, saved: Saved) -> None:
        """Takes up a checkpoint."""
        self._trainer = self._trainer_of(blank_coder(self._form))
        self._trainer.load_state(saved.trainer)
        self._scaling = saved.scaling
        self.curve = list(saved.curve)
        for point in self.curve:
            self._watch.see(point)

    def saved(self) -> Saved:
        """Returns everything that the rest of the run depends on."""
        return Saved(self._trained.state(), self.curve, self._scaling)

    def step(self, batch: Rows) -> None:
        """Takes one step on float32 rows of its device. Raises UserTaskError when the run has diverged."""
        step = len(self.curve)
        rate = self.run.learning_rate(step)
        x = _scaled(batch[self.reads.hookpoint], self._scaling.reads)
        y = x if self.gives is self.reads else _scaled(batch[self.gives.hookpoint], self._scaling.gives)
        report = self._trained.step(x, y, rate)
        self._say_kernels()
        tokens = (step + 1) * self.run.batch_tokens
        point = Point(step + 1, tokens, report.fvu, report.l0, report.dead_fraction, report.loss, rate)
        try:
            self._watch.see(point)
        except Diverged as error:
            raise UserTaskError(str(error), reason="TRAINING_DIVERGED") from error
        self.curve.append(point)

    def show(self) -> None:
        """Shows the curve so far in Weights & Biases, where the operator asks for it."""
        if not self._wandb_project:
            return
        if self._shown is None:
            self._shown = WandbCurve(self._wandb_project, self._coder_id, self.spec)
            self._opened.callback(self._shown.close)
        self._shown.tell(self.curve)

    def close(self) -> None:
        """Ends the processes that train the coder together, where there are several, and what shows its curve."""
        self._opened.close()

    def parts(self, folder: Path, prefix: str = "") -> Iterator[Part]:
        """Yields the coder in sparsify's layout and the curve, with a prefix before their names."""
        coder = self._finished()
        sparse_coders.save(coder, folder)
        figures = self._figures(coder)
        yield Part(prefix + sparse_coders.CONFIG_FILE, folder / sparse_coders.CONFIG_FILE)
        weights = folder / sparse_coders.WEIGHTS_FILE
        yield Part(prefix + weights.name, weights, row_count=self.run.d_sae, metadata=figures)
        write_curve(folder / CURVE_FILE, self.curve)
        yield Part(prefix + CURVE_FILE, folder / CURVE_FILE, row_count=len(self.curve))
        yield Part(prefix + CURVE_PAGE, data=curve_page(self.curve, figures))

    @property
    def _trained(self) -> "CoderTrainer | DistributedTrainer":
        assert self._trainer is not None, "neither begin() nor resume() was called"
        return self._trainer

    def _seed(self, name: str) -> int:
        return derived_seed(self._coder_id, self.spec.seed, name)

    def _trainer_of(self, coder: SparseCoder) -> "CoderTrainer | DistributedTrainer":
        if self.spec.ranks == 1:
            return trainer_of(coder.to(self._device), self._options, self._kernels)
        from sae_trainer.distributed import DistributedTrainer
        from sae_trainer.distributed_rank import Sharing

        threads = max(1, torch.get_num_threads() // self.spec.ranks)
        shared = Sharing(self.spec.ranks, self.spec.parallel, self.run.batch_tokens, self._device.type, threads)
        return self._opened.enter_context(DistributedTrainer(coder, self._options, shared))

    def _say_kernels(self) -> None:
        """Says what takes the steps, once: it is known after the first one."""
        if self._told:
            return
        self._told = True
        _LOG.info("steps are taken by: %s", self._trained.kernels)
        if self._trained.kernels_refused is not None:
            _LOG.warning("Triton's kernels are not used: %s", self._trained.kernels_refused)

    def _finished(self) -> SparseCoder:
        self._trained.finish()
        coder = self._trained.coder
        if self.spec.input_normalisation == "mean_norm":
            fold(coder, self._scaling)
        return coder

    def _figures(self, coder: SparseCoder) -> Mapping[str, Json]:
        end: dict[str, Json] = dict(curve_end(self.curve)._asdict())
        return {
            **coder_figures(coder, self.reads.hookpoint, self.gives.hookpoint),
            "baseline": self.spec.architecture if self.spec.architecture in BASELINES else None,
            "token_count": self.curve[-1].token_count,
            "step_count": len(self.curve),
            "kernels": self._trained.kernels,
            "kernels_refused": "triton" if self._trained.kernels_refused else None,  # why stands in the log
            **end,
        }


def _scaled(rows: Float[Tensor, "n d"], factor: float) -> Float[Tensor, "n d"]:
    return rows if factor == 1.0 else rows * factor
