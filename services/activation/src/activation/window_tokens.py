"""The tokens and documents of windows, read from token rows."""

import numpy as np
from jaxtyping import Int32, Int64
from latent_cache.token_rows import TokenRows

_TOKENS_AT_ONCE = 1 << 21


def window_tokens(
    rows: TokenRows, places: Int64[np.ndarray, " n"], length: int
) -> tuple[Int32[np.ndarray, "n length"], Int32[np.ndarray, " n"]]:
    """Returns the tokens of windows and the document of each; `places` are row * ctx_len + position of their first."""
    row_of, starts = np.divmod(places, rows.ctx_len)
    unique, which = np.unique(row_of, return_inverse=True)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(unique) + 1))
    tokens, documents = np.empty((len(places), length), np.int32), np.empty(len(places), np.int32)
    step = max(1, _TOKENS_AT_ONCE // rows.ctx_len)
    for low in range(0, len(unique), step):
        several = unique[low : low + step]
        here = order[bounds[low] : bounds[low + len(several)]]
        at, within = which[here] - low, starts[here]
        windows = np.lib.stride_tricks.sliding_window_view(rows.tokens(several), length, axis=1)
        tokens[here] = windows[at, within]
        documents[here] = rows.documents(several)[at, within]
    return tokens, documents
