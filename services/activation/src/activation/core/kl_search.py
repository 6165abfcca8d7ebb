"""Finds the strength at which an intervention moves the next token by a given KL divergence."""

import math

import numpy as np
from jaxtyping import Bool, Float64, Int64

_LOWEST, _HIGHEST = -3.0, 4.0
"""log10 of the strength (Paulo et al. 2410.13928, appendix)."""


class KlSearch:
    """Bisection on log10 of the strength, for many latents and targets at once.

    Ask for `strengths`, measure the mean KL of each, `tell` it, while `open`. A pair of latent and target is done when
    its KL is within the tolerance, or its steps are used up: then it keeps the strength that came nearest.
    """

    def __init__(self, latent_count: int, targets: tuple[float, ...], tolerance: float, steps: int) -> None:
        """`targets` in nats; `tolerance` relative to the target; `steps` for each pair."""
        shape = (latent_count, len(targets))
        self._targets = np.broadcast_to(np.asarray(targets, np.float64), shape)
        self._tolerance = tolerance
        self._steps = steps
        self._low = np.full(shape, _LOWEST)
        self._high = np.full(shape, _HIGHEST)
        self._miss = np.full(shape, math.inf)
        self._taken: Int64[np.ndarray, "latents targets"] = np.zeros(shape, np.int64)
        self.found: Float64[np.ndarray, "latents targets"] = np.full(shape, math.nan)
        """The nearest strength so far."""
        self.kl: Float64[np.ndarray, "latents targets"] = np.full(shape, math.nan)
        """The KL at `found`, nats."""

    @property
    def converged(self) -> Bool[np.ndarray, "latents targets"]:
        """Whether `kl` is within the tolerance of the target."""
        # At the edge of the tolerance a rounding error must not decide.
        return np.abs(self.kl - self._targets) <= self._tolerance * self._targets * (1 + 1e-9)

    @property
    def open(self) -> Bool[np.ndarray, "latents targets"]:
        """Which pairs are still searched for."""
        return ~self.converged & (self._taken < self._steps)

    def strengths(self) -> Float64[np.ndarray, "latents targets"]:
        """Returns the strengths to measure now; only those of open pairs mean anything."""
        return 10.0 ** ((self._low + self._high) / 2)

    def tell(self, kl: Float64[np.ndarray, "latents targets"]) -> None:
        """Takes the mean KL at `strengths()`, nats. One that is not finite counts as too much."""
        is_open, tried = self.open, self.strengths()
        finite = np.isfinite(kl)
        miss = np.full(kl.shape, math.inf)
        # Distance in log: half of the target is as far as twice of it.
        miss[finite] = np.abs(np.log(np.maximum(kl[finite], 1e-300) / self._targets[finite]))
        nearer = is_open & (miss < self._miss)
        self.found = np.where(nearer, tried, self.found)
        self.kl = np.where(nearer, kl, self.kl)
        self._miss = np.where(nearer, miss, self._miss)
        middle = np.log10(tried)
        too_weak = finite & (kl < self._targets)
        self._low = np.where(is_open & too_weak, middle, self._low)
        self._high = np.where(is_open & ~too_weak, middle, self._high)
        self._taken = self._taken + is_open
