"""Which latents two coders share, by the rule of Paulo and Belrose (arXiv 2501.16615)."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sae_trainer.core.matching import Matching, Step, match, unit_rows

THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_NORMAL = 1.959964
"""97.5 % quantile of the standard normal distribution."""


def match_directions(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Generator[Step, None, Matching]:
    """Matches the rows of two matrices by cosine; scales them to unit norm in place.

    A row of 0 has no direction: it has no partner, and is nobody's.
    """
    unit_rows(a)
    unit_rows(b)
    kept, other_kept = (rows.any(1).nonzero()[:, 0].cpu().numpy() for rows in (a, b))
    if len(kept) == len(a) and len(other_kept) == len(b):
        return (yield from match(a, b))
    if not len(kept) or not len(other_kept):
        return _spread(_none(), kept, other_kept, len(a), len(b))
    found = yield from match(a[torch.from_numpy(kept)], b[torch.from_numpy(other_kept)])
    return _spread(found, kept, other_kept, len(a), len(b))


def _none() -> Matching:
    numbers, cosines = np.empty(0, np.int64), np.empty(0)
    return Matching(numbers, cosines, numbers, cosines, numbers, cosines)


def _spread(
    found: Matching, kept: Int64[np.ndarray, " k"], other_kept: Int64[np.ndarray, " l"], n: int, m: int
) -> Matching:
    """Returns a matching of some rows of each set as one of all of them."""

    def names(numbers: Int64[np.ndarray, " k"], of: Int64[np.ndarray, " l"]) -> Int64[np.ndarray, " k"]:
        return np.where(numbers >= 0, of[numbers], -1) if len(of) else np.full(len(numbers), -1)

    def filled(values: np.ndarray, places: Int64[np.ndarray, " k"], size: int, empty: float) -> np.ndarray:
        full = np.full(size, empty, values.dtype)
        if len(values):
            full[places] = values
        return full

    return Matching(
        match=filled(names(found.match, other_kept), kept, n, -1),
        cosine=filled(found.cosine, kept, n, 0.0),
        nearest=filled(names(found.nearest, other_kept), kept, n, -1),
        nearest_cosine=filled(found.nearest_cosine, kept, n, 0.0),
        other_nearest=filled(names(found.other_nearest, kept), other_kept, m, -1),
        other_nearest_cosine=filled(found.other_nearest_cosine, other_kept, m, 0.0),
    )


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far two coders agree. Fractions are of the latents of the coder that has fewer."""

    shared_count: int
    """Latents whose encoder and decoder have the same partner, both with a cosine of at least the threshold."""
    shared_fraction: float
    shared_fraction_interval: tuple[float, float]
    """95 %, Wilson's score interval: of other latents of these two coders, not of other seeds."""
    shared_fraction_by_threshold: dict[str, float]
    agreement_fraction: float
    """Latents whose encoder and decoder have the same partner, whatever the cosine."""
    agreeing_cosine: float | None
    """Mean of encoder's and decoder's cosine over latents whose partners agree; None without any."""
    disagreeing_cosine: float | None
    encoder_cosine: float
    """Mean over matched latents."""
    decoder_cosine: float
    encoder_mmcs: float
    """Mean over the latents of the first coder of the largest cosine with any latent of the other."""
    encoder_mmcs_interval: tuple[float, float]
    decoder_mmcs: float
    decoder_mmcs_interval: tuple[float, float]
    other_encoder_mmcs: float
    """The same from the other coder's side."""
    other_decoder_mmcs: float
    without_direction_count: int
    """Latents of either coder with an encoder or decoder row of 0; never shared."""


def shared(encoder: Matching, decoder: Matching, threshold: float) -> Bool[np.ndarray, " d_sae"]:
    """Returns which latents of the first coder are shared."""
    agree = (encoder.match == decoder.match) & (encoder.match >= 0)
    return agree & (encoder.cosine >= threshold) & (decoder.cosine >= threshold)


def overlap_of(encoder: Matching, decoder: Matching, threshold: float) -> Overlap:
    """Returns the figures of two matchings of the same two coders."""
    size = min(len(encoder.match), len(encoder.other_nearest))
    matched = (encoder.match >= 0) & (decoder.match >= 0)
    agree = (encoder.match == decoder.match) & matched
    both = (encoder.cosine + decoder.cosine) / 2
    count = int(shared(encoder, decoder, threshold).sum())
    return Overlap(
        shared_count=count,
        shared_fraction=count / size,
        shared_fraction_interval=_wilson(count, size),
        shared_fraction_by_threshold={f"{t:g}": float(shared(encoder, decoder, t).sum()) / size for t in THRESHOLDS},
        agreement_fraction=float(agree.sum()) / size,
        agreeing_cosine=_mean_of(both[agree]),
        disagreeing_cosine=_mean_of(both[matched & ~agree]),
        encoder_cosine=_mean_of(encoder.cosine[encoder.match >= 0]) or 0.0,
        decoder_cosine=_mean_of(decoder.cosine[decoder.match >= 0]) or 0.0,
        encoder_mmcs=float(encoder.nearest_cosine.mean()),
        encoder_mmcs_interval=_mean_interval(encoder.nearest_cosine),
        decoder_mmcs=float(decoder.nearest_cosine.mean()),
        decoder_mmcs_interval=_mean_interval(decoder.nearest_cosine),
        other_encoder_mmcs=float(encoder.other_nearest_cosine.mean()),
        other_decoder_mmcs=float(decoder.other_nearest_cosine.mean()),
        without_direction_count=_without(encoder.nearest, decoder.nearest)
        + _without(encoder.other_nearest, decoder.other_nearest),
    )


def null_figures(nulls: Sequence[Overlap]) -> dict[str, float]:
    """Returns the means over random dictionaries of what a coder has in common with them by chance."""
    names = (
        "shared_fraction",
        "agreement_fraction",
        "encoder_cosine",
        "decoder_cosine",
        "encoder_mmcs",
        "decoder_mmcs",
    )
    return {f"null_{name}": float(np.mean([getattr(null, name) for null in nulls])) for name in names} if nulls else {}


def _without(encoder: Int64[np.ndarray, " n"], decoder: Int64[np.ndarray, " n"]) -> int:
    return int(((encoder < 0) | (decoder < 0)).sum())


def _mean_of(values: Float[np.ndarray, " n"]) -> float | None:
    return float(values.mean()) if len(values) else None


def _mean_interval(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    exact = values.astype(np.float64)
    reach = _NORMAL * float(exact.std(ddof=1)) / math.sqrt(len(exact)) if len(exact) > 1 else 0.0
    return float(exact.mean()) - reach, float(exact.mean()) + reach


def _wilson(count: int, total: int) -> tuple[float, float]:
    """Returns Wilson's score interval of a share; unlike the normal one it stays within 0..1 and has a width at 0."""
    share, z = count / total, _NORMAL**2
    centre = (share + z / (2 * total)) / (1 + z / total)
    reach = math.sqrt(z) * math.sqrt(share * (1 - share) / total + z / (4 * total**2)) / (1 + z / total)
    return max(0.0, centre - reach), min(1.0, centre + reach)
