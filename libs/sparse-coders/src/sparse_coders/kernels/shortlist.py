"""The search of `sparse_coders.kernels.search` where scores come for a part of the dictionary at a time.

Each token keeps a list of latents that may be among its k strongest in what was searched so far. The k-th largest
score of any part bounds that of the whole from below, so nothing that is left out on the way could have come in.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped

from sparse_coders.kernels.compiled import Real, compiled, inlined
from sparse_coders.kernels.search import (
    GUESS,
    Encoder,
    Largest,
    Tokens,
    bounds_of,
    candidates_of,
    finish,
    kth_largest,
    needed_of,
    overflows,
    scan,
    settle,
)


class Shortlists(NamedTuple):
    """Candidates of each token. What they hold before the first part does not matter."""

    counts: Int32[np.ndarray, " n"]
    """-1: there were more than a list has room for."""
    thresholds: Float32[np.ndarray, " n"]
    """Candidates are all latents so far whose score is above it."""
    scores: Float32[np.ndarray, "n room"]
    latents: Int32[np.ndarray, "n room"]


@inlined
def _kth_of_both(
    listed: Float32[np.ndarray, " count"],
    found: Float32[np.ndarray, " new"],
    k: int,
    scratch: Float32[np.ndarray, " size"],
) -> Real:
    """Returns the k-th largest of the scores of a list and of what was found; there are at least k."""
    count, total = len(listed), len(listed) + len(found)
    scratch[:count] = listed
    scratch[count:total] = found
    return kth_largest(scratch[:total], k)


@compiled
def _add(
    lists: Shortlists,
    i: int,
    found: Float32[np.ndarray, " new"],
    latents: Int32[np.ndarray, " new"],
    first: int,
    threshold: Real,
) -> None:
    """Adds what was found of a token, less what is not above the threshold."""
    count, room = lists.counts[i], lists.scores.shape[1]
    scores, listed = lists.scores[i], lists.latents[i]
    if threshold > lists.thresholds[i]:
        kept = 0
        for c in range(count):
            if scores[c] > threshold:
                scores[kept], listed[kept] = scores[c], listed[c]
                kept += 1
        count, lists.thresholds[i] = kept, threshold
    for c in range(len(found)):
        if found[c] > threshold:
            if count == room:
                lists.counts[i] = -1
                return
            scores[count], listed[count] = found[c], first + latents[c]
            count += 1
    lists.counts[i] = count


@compiled
def search_part(
    scores: Shaped[np.ndarray, "n part"],
    rounded: bool,
    tokens: Tokens,
    encoder: Encoder,
    largest: Largest,
    lists: Shortlists,
    first: int,
    k: int,
) -> None:
    """Adds to the lists what a part of the dictionary has.

    Args:
        scores: Of latents first, first + 1 and so on, see `search.strongest`; parts come in order, from latent 0 on.
        rounded: See there.
        tokens: What is encoded.
        encoder: The whole coder.
        largest: `search.largest_of` it.
        lists: Of these tokens; with room for at least k.
        first: First latent of the part.
        k: How many are wanted.
    """
    size, room = scores.shape[1], lists.scores.shape[1]
    found, scratch = np.empty(size, np.float32), np.empty(size + room, np.float32)
    latents, is_above = np.empty(size, np.int32), np.zeros(-(-size // 8) * 8, np.uint8)
    b_enc, guess = encoder.b_enc[first : first + size], 0.0
    for i in range(len(scores)):
        own, bounds = tokens.norms[i], bounds_of(tokens, i, rounded, largest)
        if first == 0:
            lists.counts[i] = 0
        if lists.counts[i] < 0 or overflows(own, largest):
            continue
        if first == 0:
            new, _, threshold = candidates_of(
                scores[i], b_enc, k, guess * own, bounds, is_above, found, latents, scratch
            )
            guess = GUESS * threshold / own if own > 0 else 0.0
            lists.thresholds[i] = threshold
        else:
            threshold = lists.thresholds[i]
            new = scan(scores[i], b_enc, threshold, is_above, found, latents)
            if lists.counts[i] + new > room:
                kth = _kth_of_both(lists.scores[i, : lists.counts[i]], found[:new], k, scratch)
                threshold = max(threshold, needed_of(kth, bounds))
        _add(lists, i, found[:new], latents[:new], first, threshold)


@compiled
def settle_lists(
    rounded: bool,
    tokens: Tokens,
    encoder: Encoder,
    largest: Largest,
    lists: Shortlists,
    acts: Float32[np.ndarray, "n k"],
    latents: Int64[np.ndarray, "n k"],
) -> int:
    """Writes what `search.strongest` does, where a token has a list; returns how many have none."""
    k, missing = acts.shape[1], 0
    scratch = np.empty(lists.scores.shape[1], np.float32)
    for i in range(len(acts)):
        if overflows(tokens.norms[i], largest):
            acts[i], latents[i] = math.nan, np.arange(k)
            continue
        count, kth = lists.counts[i], -math.inf
        if count < 0:
            missing += 1
            continue
        scores, listed = lists.scores[i, :count], lists.latents[i, :count]
        if count >= k:
            scratch[:count] = scores
            kth = kth_largest(scratch[:count], k)
        bounds = bounds_of(tokens, i, rounded, largest)
        filled = settle(tokens.x[i], encoder, bounds, kth, scores, listed, acts[i], latents[i])
        finish(acts[i], latents[i], filled)
    return missing
