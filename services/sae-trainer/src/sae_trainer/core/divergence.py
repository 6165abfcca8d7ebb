"""Tells a run that is lost from one that is slow or noisy."""

import math
from collections import deque

from sae_trainer.core.curve import Point

_WINDOW = 20
"""Steps that are averaged."""
_PENALISED_WINDOW = 500
"""The same where a penalty is adapted: it may overshoot, and latents come back."""
_RISE = 1.1
"""How far above the best average so far is no noise any more."""


class Diverged(Exception):
    """The run cannot come to anything; the message says what to change."""


class DivergenceWatch:
    """Looks at each step. FVU 1 is what predicting the mean gives; a run that ends above it has learnt nothing."""

    def __init__(self, warmup_steps: int, penalty: str | None) -> None:
        """`penalty`: the field of the coefficient that holds latents down, if there is one."""
        self._warmup_steps, self._penalty = warmup_steps, penalty
        self._window = _PENALISED_WINDOW if penalty else _WINDOW
        self._recent: deque[float] = deque(maxlen=self._window)
        self._best = math.inf

    def see(self, point: Point) -> None:
        """Takes the next step.

        Raises:
            Diverged: the loss is not finite, or after warm-up the FVU, averaged over 20 steps (500 with a penalty), is
                above 1 and more than a tenth above its best.
        """
        at = f"at step {point.step}, learning rate {point.learning_rate:.3g}"
        if not (math.isfinite(point.loss) and math.isfinite(point.fvu)):
            raise Diverged(
                f"the loss is {point.loss} {at}: the run diverged, or a batch has no variance; lower learning_rate "
                "(see its default in CoderSpec), raise warmup_steps or set max_grad_norm"
            )
        self._recent.append(point.fvu)
        if len(self._recent) < self._window:
            return
        mean = sum(self._recent) / self._window
        self._best = min(self._best, mean)
        if point.step > self._warmup_steps and mean > max(1.0, _RISE * self._best):
            raise Diverged(f"the FVU is {mean:.3g} {at}, and was {self._best:.3g} before: {self._advice(point)}")

    def _advice(self, point: Point) -> str:
        if self._penalty and point.l0 < 1:
            return f"hardly a latent fires (L0 {point.l0:.2g}); lower {self._penalty}, or raise target_l0"
        return "the run diverged; lower learning_rate, raise warmup_steps or set max_grad_norm"
