"""The k strongest latents of each token, found among approximate pre-activations and settled by exact ones.

A score s of a latent is its pre-activation p from rounded operands. |p - s| is at most

    B = |x - x~| |w| + |x~| |w - w~| + rounding of float32 sums

for rounded x~, w~ (Cauchy-Schwarz), and with scores stored as bfloat16 another 2^-8 |s|. A latent whose score is
further than both bounds below the k-th largest one cannot be among the k strongest. The others, less than 2 k of them
rather than d_sae, are computed in float32, strongest score first, as long as their bound reaches the weakest of the k
best so far. So the result is that of computing every pre-activation by `_dot`, bit for bit: the scores only say where
not to look.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped, UInt8

from sparse_coders.kernels.compiled import Real, compiled, fetch, inlined, score_of

_AHEAD = 3
"""Candidates between the one whose row is asked for and the one that is computed."""
_GUESS = 0.95
"""Of the last token's threshold, relative to its norm: where the search of the next one starts."""
_SUM_ROUNDING = 2.0**-22
"""Error of a float32 sum of products, of both sides together, for each term and unit of |x| |w|."""
_NORM_ROUNDING = 1.001
"""Norms are float32 sums themselves."""


class Encoder(NamedTuple):
    """What the search reads of a coder."""

    W_enc: Float32[np.ndarray, "d_sae d_model"]
    b_enc: Float32[np.ndarray, " d_sae"]
    norms: Float32[np.ndarray, " d_sae"]
    lost: Float32[np.ndarray, " d_sae"]


class Tokens(NamedTuple):
    """What the encoder multiplies, and how it was rounded."""

    x: Float32[np.ndarray, "n d_model"]
    norms: Float32[np.ndarray, " n"]
    lost: Float32[np.ndarray, " n"]


@inlined
def _dot(a: Float32[np.ndarray, " width"], b: Float32[np.ndarray, " width"]) -> Real:
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@compiled
def _scan(
    scores: Shaped[np.ndarray, " d_sae"],
    b_enc: Float32[np.ndarray, " d_sae"],
    threshold: Real,
    is_above: UInt8[np.ndarray, " whole"],
    found: Float32[np.ndarray, " d_sae"],
    latents: Int32[np.ndarray, " d_sae"],
) -> int:
    """Writes the scores above the threshold and their latents, in the order of latents; returns how many.

    Scores are compared in one vectorised loop; another looks at those places only where one in 8 bytes is set. is_above
    has d_sae bytes, made up to a multiple of 8, the last ones 0.
    """
    count, limit = 0, np.float32(threshold)
    for j in range(len(scores)):
        is_above[j] = np.uint8(score_of(scores[j]) + b_enc[j] > limit)
    words = is_above.view(np.uint64)
    for word in range(len(words)):
        if words[word]:
            for j in range(8 * word, 8 * word + 8):
                if is_above[j]:
                    found[count], latents[count] = score_of(scores[j]) + b_enc[j], j
                    count += 1
    return count


@compiled
def _kth_largest(values: Float32[np.ndarray, " n"], k: int) -> Real:
    """Returns the k-th largest value; reorders them (Hoare's quickselect)."""
    low, high, place = 0, len(values) - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return values[place]


@compiled
def _candidates(
    scores: Shaped[np.ndarray, " d_sae"],
    b_enc: Float32[np.ndarray, " d_sae"],
    k: int,
    start: Real,
    slack: Real,
    spread: Real,
    is_above: UInt8[np.ndarray, " whole"],
    found: Float32[np.ndarray, " d_sae"],
    latents: Int32[np.ndarray, " d_sae"],
    scratch: Float32[np.ndarray, " d_sae"],
) -> tuple[int, Real, Real]:
    """Writes every latent that may be among the k strongest above 0.

    Args:
        scores: Approximate products of one token.
        b_enc: Added to them.
        k: How many are wanted.
        start: A guess of the threshold; any number gives a right answer.
        slack: Bound on the error of a score that is the same for all.
        spread: Bound on its error relative to its size.
        found: Filled with scores.
        latents: Filled with latents.
        is_above: Scratch, see `_scan`.
        scratch: Overwritten.

    Returns:
        How many there are, the k-th largest score (-inf when fewer) and the threshold that they are above.
    """
    floor = -1.01 * slack - 1e-30  # whose bound is below it is not above 0
    threshold = max(start, floor)
    count = _scan(scores, b_enc, threshold, is_above, found, latents)
    while True:
        needed, kth = floor, -math.inf
        if count >= k:
            scratch[:count] = found[:count]
            kth = _kth_largest(scratch[:count], k)
            needed = max(floor, kth - 2 * slack - 2 * spread * abs(kth))
        if threshold <= needed:
            return count, kth, needed
        threshold = needed
        count = _scan(scores, b_enc, threshold, is_above, found, latents)


@inlined
def _weaker(act: Real, latent: int, other_act: Real, other_latent: int) -> bool:
    """Of equal latents, the one with the lower number is the stronger."""
    return act < other_act or (act == other_act and latent > other_latent)


@compiled
def _weakest(acts: Float32[np.ndarray, " k"], latents: Int64[np.ndarray, " k"]) -> int:
    worst = 0
    for i in range(1, len(acts)):
        if _weaker(acts[i], latents[i], acts[worst], latents[worst]):
            worst = i
    return worst


@compiled
def _settle(
    x: Float32[np.ndarray, " d_model"],
    encoder: Encoder,
    slacks: tuple[Real, Real, Real],
    kth: Real,
    found: Float32[np.ndarray, " count"],
    candidates: Int32[np.ndarray, " count"],
    acts: Float32[np.ndarray, " k"],
    latents: Int64[np.ndarray, " k"],
) -> int:
    """Writes the k strongest candidates by their exact pre-activations, in no order; returns how many there are.

    `slacks` are the bound on a score's error for each unit of |w|, for each unit of |w - w~|, and relative to its size.
    """
    k, filled, worst = len(acts), 0, 0
    per_norm, per_lost, spread = slacks
    for strongest in (True, False):
        for c in range(len(found)):
            if (found[c] >= kth) != strongest:
                continue
            j = candidates[c]
            if filled == k:
                bound = found[c] + spread * abs(found[c]) + per_norm * encoder.norms[j] + per_lost * encoder.lost[j]
                if bound < acts[worst]:
                    continue
            if c + _AHEAD < len(found):
                fetch(encoder.W_enc[candidates[c + _AHEAD]])
            act = _dot(x, encoder.W_enc[j]) + encoder.b_enc[j]
            if filled < k:
                acts[filled], latents[filled] = act, j
                filled += 1
                if filled == k:
                    worst = _weakest(acts, latents)
            elif _weaker(acts[worst], latents[worst], act, j):
                acts[worst], latents[worst] = act, j
                worst = _weakest(acts, latents)
    return filled


@compiled
def _finish(acts: Float32[np.ndarray, " k"], latents: Int64[np.ndarray, " k"], filled: int) -> None:
    """Puts the strongest first, makes negative ones 0 and fills what is left with latents that are not there yet."""
    for i in range(1, filled):
        act, latent, place = acts[i], latents[i], i
        while place > 0 and _weaker(acts[place - 1], latents[place - 1], act, latent):
            acts[place], latents[place] = acts[place - 1], latents[place - 1]
            place -= 1
        acts[place], latents[place] = act, latent
    for i in range(filled):
        acts[i] = max(acts[i], np.float32(0))
    unused = 0
    for i in range(filled, len(acts)):
        while (latents[:i] == unused).any():
            unused += 1
        acts[i], latents[i] = 0, unused


@compiled
def strongest(
    scores: Shaped[np.ndarray, "n d_sae"],
    rounded: bool,
    tokens: Tokens,
    encoder: Encoder,
    acts: Float32[np.ndarray, "n k"],
    latents: Int64[np.ndarray, "n k"],
) -> None:
    """Writes relu of the k largest pre-activations of each token, the strongest first, and their latents.

    Of equal ones the lower latents are taken. A token whose pre-activations could overflow or are not numbers gets
    activations that are not numbers.

    Args:
        scores: tokens.x~ W_enc~^T; float32, or bfloat16 as uint16.
        rounded: Whether the operands were rounded to bfloat16; else they were tokens.x and W_enc.
        tokens: What is encoded.
        encoder: The coder.
        acts: Filled.
        latents: Filled.
    """
    k, d_model, d_sae = acts.shape[1], tokens.x.shape[1], scores.shape[1]
    found, scratch = np.empty(d_sae, np.float32), np.empty(d_sae, np.float32)
    candidates, is_above = np.empty(d_sae, np.int32), np.zeros(-(-d_sae // 8) * 8, np.uint8)
    norm, lost, bias = encoder.norms.max(), encoder.lost.max(), np.abs(encoder.b_enc).max()
    spread = 2.0**-8 if rounded else 0.0
    guess = 0.0
    for i in range(len(scores)):
        own, own_lost = tokens.norms[i] * _NORM_ROUNDING, tokens.lost[i] * _NORM_ROUNDING
        if not (own * norm + bias < math.inf):
            acts[i], latents[i] = math.nan, np.arange(k)
            continue
        sums = d_model * _SUM_ROUNDING * own
        per_norm = _NORM_ROUNDING * (sums + own_lost if rounded else sums)
        per_lost = _NORM_ROUNDING * (own + own_lost) if rounded else 0.0
        shared = per_norm * norm + per_lost * lost + bias * _SUM_ROUNDING
        count, kth, threshold = _candidates(
            scores[i], encoder.b_enc, k, guess * own, shared, spread, is_above, found, candidates, scratch
        )
        filled = _settle(
            tokens.x[i],
            encoder,
            (per_norm, per_lost, spread),
            kth,
            found[:count],
            candidates[:count],
            acts[i],
            latents[i],
        )
        _finish(acts[i], latents[i], filled)
        guess = _GUESS * threshold / own if own > 0 else 0.0
