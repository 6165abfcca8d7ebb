"""Where in the row a latent fires, and how much that says about whether it fires."""

import numpy as np
from jaxtyping import Float64, Int64
from latent_cache.tables import position_edges

from activation.core.merge import LatentEntries


def firing_by_position(block: LatentEntries, ctx_len: int) -> Int64[np.ndarray, "latents ctx_len"]:
    """Counts firings by position in the row."""
    cells = block.owners * ctx_len + block.places % ctx_len
    return np.bincount(cells, minlength=block.latent_count * ctx_len).reshape(-1, ctx_len)


def binned(counts: Int64[np.ndarray, "... ctx_len"]) -> Int64[np.ndarray, "... bins"]:
    """Adds positions up to the bins of `latent_cache.tables.position_edges`."""
    return np.add.reduceat(counts, position_edges(counts.shape[-1])[:-1], axis=-1)


def positional_information(
    firing: Int64[np.ndarray, "latents ctx_len"], token_counts: Int64[np.ndarray, " ctx_len"]
) -> Float64[np.ndarray, " latents"]:
    """Returns the mutual information of firing and position, nats; above 0.05 a latent is called positional.

    MI = (1/T) sum_p [ f_p ln(f_p / f) + (1 - f_p) ln((1 - f_p) / (1 - f)) ], f_p the share of the tokens at position p
    on which the latent fires, f their mean over the T positions that have tokens (docs/methods.md). Positions are
    taken one by one, not by bins. With n tokens a position, chance alone gives about 1 / (2 n).
    """
    used = token_counts > 0
    if not used.any():
        return np.zeros(len(firing))
    rates = firing[:, used] / token_counts[used]
    mean = rates.mean(1, keepdims=True)
    # Where it never fires, which is most places, the first term is 0 and the second the same for all of them.
    information = np.broadcast_to(_term(np.ones_like(mean), 1 - mean), rates.shape).copy()
    latents, fires = np.nonzero(rates)
    found, expected = rates[latents, fires], mean[latents, 0]
    information[latents, fires] = _term(found, expected) + _term(1 - found, 1 - expected)
    # Rounding may go below 0 where nothing depends on the position.
    return np.maximum(information.mean(1), 0.0)


def max_position_density(
    firing: Int64[np.ndarray, "latents ctx_len"], token_counts: Int64[np.ndarray, " ctx_len"]
) -> Float64[np.ndarray, " latents"]:
    """Returns the largest share of tokens on which a latent fires, over the bins of positions."""
    tokens = binned(token_counts)
    return (binned(firing)[:, tokens > 0] / tokens[tokens > 0]).max(1, initial=0.0)


def _term(share: Float64[np.ndarray, "*shape"], mean: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """p ln(p / q), 0 for p = 0."""
    ratio = np.divide(share, mean, out=np.ones_like(share), where=(share > 0) & (mean > 0))
    return share * np.log(ratio)
