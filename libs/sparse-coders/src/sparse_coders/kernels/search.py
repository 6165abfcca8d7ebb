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
GUESS = 0.95
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


class Bounds(NamedTuple):
    """Of the error of a token's scores."""

    per_norm: Real
    """For each unit of |w|."""
    per_lost: Real
    """For each unit of |w - w~|."""
    spread: Real
    """Relative to the size of a score."""
    shared: Real
    """What `per_norm` and `per_lost` come to at most, with the rounding of the bias."""


class Largest(NamedTuple):
    """What no latent of a coder exceeds."""

    norm: Real
    lost: Real
    bias: Real


def largest_of(encoder: Encoder) -> Largest:
    """Returns the extremes of the whole coder; not compiled, since NumPy takes all lanes for a maximum."""
    return Largest(encoder.norms.max(), encoder.lost.max(), np.abs(encoder.b_enc).max())


@inlined
def overflows(norm: Real, largest: Largest) -> bool:
    """Returns whether a pre-activation of a token with this norm could overflow, or is not a number."""
    return not (norm * _NORM_ROUNDING * largest.norm + largest.bias < math.inf)


@inlined
def bounds_of(tokens: Tokens, i: int, rounded: bool, largest: Largest) -> Bounds:
    """Returns how far the scores of token i may be off."""
    own, own_lost = tokens.norms[i] * _NORM_ROUNDING, tokens.lost[i] * _NORM_ROUNDING
    sums = tokens.x.shape[1] * _SUM_ROUNDING * own
    per_norm = _NORM_ROUNDING * (sums + own_lost if rounded else sums)
    per_lost = _NORM_ROUNDING * (own + own_lost) if rounded else 0.0
    shared = per_norm * largest.norm + per_lost * largest.lost + largest.bias * _SUM_ROUNDING
    return Bounds(per_norm, per_lost, 2.0**-8 if rounded else 0.0, shared)


@inlined
def _dot(a: Float32[np.ndarray, " width"], b: Float32[np.ndarray, " width"]) -> Real:
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@compiled
def scan(
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
def kth_largest(values: Float32[np.ndarray, " n"], k: int) -> Real:
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


@inlined
def needed_of(kth: Real, bounds: Bounds) -> Real:
    """Returns the score that a latent must be above where the k-th largest score is `kth`."""
    return kth - 2 * bounds.shared - 2 * bounds.spread * abs(kth)


@compiled
def candidates_of(
    scores: Shaped[np.ndarray, " d_sae"],
    b_enc: Float32[np.ndarray, " d_sae"],
    k: int,
    start: Real,
    bounds: Bounds,
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
        bounds: On the error of a score.
        found: Filled with scores.
        latents: Filled with latents.
        is_above: Scratch, see `scan`.
        scratch: Overwritten.

    Returns:
        How many there are, the k-th largest score (-inf when fewer) and the threshold that they are above.
    """
    floor = -1.01 * bounds.shared - 1e-30  # whose bound is below it is not above 0
    threshold = max(start, floor)
    count = scan(scores, b_enc, threshold, is_above, found, latents)
    while True:
        needed, kth = floor, -math.inf
        if count >= k:
            scratch[:count] = found[:count]
            kth = kth_largest(scratch[:count], k)
            needed = max(floor, needed_of(kth, bounds))
        if threshold <= needed:
            return count, kth, needed
        threshold = needed
        count = scan(scores, b_enc, threshold, is_above, found, latents)


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
def settle(
    x: Float32[np.ndarray, " d_model"],
    encoder: Encoder,
    bounds: Bounds,
    kth: Real,
    found: Float32[np.ndarray, " count"],
    candidates: Int32[np.ndarray, " count"],
    acts: Float32[np.ndarray, " k"],
    latents: Int64[np.ndarray, " k"],
) -> int:
    """Writes the k strongest candidates by their exact pre-activations, in no order; returns how many there are."""
    k, filled, worst = len(acts), 0, 0
    for strongest in (True, False):
        for c in range(len(found)):
            if (found[c] >= kth) != strongest:
                continue
            j = candidates[c]
            if filled == k:
                error = bounds.spread * abs(found[c])
                error += bounds.per_norm * encoder.norms[j] + bounds.per_lost * encoder.lost[j]
                if found[c] + error < acts[worst]:
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
def finish(acts: Float32[np.ndarray, " k"], latents: Int64[np.ndarray, " k"], filled: int) -> None:
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
    largest: Largest,
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
        largest: `largest_of` it.
        acts: Filled.
        latents: Filled.
    """
    k, d_sae = acts.shape[1], scores.shape[1]
    found, scratch = np.empty(d_sae, np.float32), np.empty(d_sae, np.float32)
    candidates, is_above = np.empty(d_sae, np.int32), np.zeros(-(-d_sae // 8) * 8, np.uint8)
    guess = 0.0
    for i in range(len(scores)):
        own = tokens.norms[i]
        if overflows(own, largest):
            acts[i], latents[i] = math.nan, np.arange(k)
            continue
        bounds = bounds_of(tokens, i, rounded, largest)
        count, kth, threshold = candidates_of(
            scores[i], encoder.b_enc, k, guess * own, bounds, is_above, found, candidates, scratch
        )
        filled = settle(tokens.x[i], encoder, bounds, kth, found[:count], candidates[:count], acts[i], latents[i])
        finish(acts[i], latents[i], filled)
        guess = GUESS * threshold / own if own > 0 else 0.0
