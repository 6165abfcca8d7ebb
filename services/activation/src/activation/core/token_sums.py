"""Which tokens a latent fires on, and which come next."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from activation.core.keyed_sums import KeyedSums
from activation.core.merge import LatentEntries

_TOKENS = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """The tokens of each latent with the largest sums of activation, by latent and rank."""

    latents: Int64[np.ndarray, " n"]
    ranks: Int32[np.ndarray, " n"]
    tokens: Int32[np.ndarray, " n"]
    weights: Float64[np.ndarray, " n"]
    """Sum of the activations."""
    counts: Int64[np.ndarray, " n"]


class TokenSums:
    """Sums of activation by latent and token. A latent has at most as many rows as the vocabulary has tokens."""

    def __init__(self) -> None:
        self._fires = KeyedSums(weight=np.float64, count=np.int64, peak=np.float32)
        self._next = KeyedSums(weight=np.float64, count=np.int64)

    def add(self, block: LatentEntries) -> None:
        """Adds the entries of further rows."""
        owners, ones = block.owners * _TOKENS, np.ones(len(block), np.int64)
        weights = block.activations.astype(np.float64)
        self._fires.add(owners + block.tokens, weight=weights, count=ones, peak=block.activations)
        known = block.next_tokens >= 0
        self._next.add((owners + block.next_tokens)[known], weight=weights[known], count=ones[known])

    def entropy(self, latent_count: int) -> Float64[np.ndarray, " latents"]:
        """Returns the entropy in nats of each latent's activation over token ids: -sum p ln p, p = w / sum w.

        Heap et al. 2501.17727, section 3, there over the strongest examples; here over every activation.
        """
        owners, weights = self._fires.keys // _TOKENS, self._fires.columns["weight"]
        shares = weights / np.bincount(owners, weights, latent_count)[owners]
        # Not -0.0 for a latent of one token.
        return np.maximum(np.bincount(owners, -shares * np.log(shares), latent_count), 0.0)

    def distinct_counts(
        self, bounds: Float32[np.ndarray, " latents"]
    ) -> tuple[Int64[np.ndarray, " latents"], Int64[np.ndarray, " latents"]]:
        """Returns how many tokens each latent fires on, and on how many of them at least as strongly as its bound."""
        owners = self._fires.keys // _TOKENS
        strong = self._fires.columns["peak"] >= bounds[owners]
        return np.bincount(owners, minlength=len(bounds)), np.bincount(owners[strong], minlength=len(bounds))

    def fires(self, count: int) -> TokenTable:
        """Returns the `count` tokens that each latent fires on most."""
        return _largest(self._fires, count)

    def following(self, count: int) -> TokenTable:
        """Returns the `count` tokens that follow most, each firing counting as much as it is strong."""
        return _largest(self._next, count)


def _largest(sums: KeyedSums, count: int) -> TokenTable:
    owners, weights = sums.keys // _TOKENS, sums.columns["weight"]
    # Keys rise, so that equal weights stay in the order of token ids. A chunk has fewer than 2^16 latents: two bytes,
    # which are sorted by radix.
    order = np.argsort(-weights, kind="stable")
    order = order[np.argsort(owners[order].astype(np.uint16), kind="stable")]
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    order, ranks = order[ranks < count], ranks[ranks < count]
    tokens = (sums.keys[order] % _TOKENS).astype(np.int32)
    return TokenTable(owners[order], ranks.astype(np.int32), tokens, weights[order], sums.columns["count"][order])
