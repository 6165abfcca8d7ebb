"""Windows: equal pieces of documents.

A row is cut into runs of one document, and each run, from its first token on, into blocks of `length` tokens; what is
left at the end of a run is in no window. So all windows have the same length and none holds a BOS, padding, or two
documents.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """`length` consecutive tokens of one document, and a latent's activation at each."""

    row: int
    start: int
    document: int
    split: str
    tokens: Int32[np.ndarray, " length"]
    activations: Float32[np.ndarray, " length"]

    @property
    def max(self) -> float:
        """The strongest activation; 0 when the latent is silent."""
        return float(self.activations.max())


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one document in rows, in the order of row and position; only those with room for a window."""

    rows: Int64[np.ndarray, " n"]
    starts: Int64[np.ndarray, " n"]
    documents: Int64[np.ndarray, " n"]
    window_counts: Int64[np.ndarray, " n"]


def find_runs(documents: Int32[np.ndarray, "rows ctx_len"], first_row: int, length: int) -> Runs:
    """Returns the runs of rows `first_row` and following, given the document of each token (-1: none)."""
    ctx_len = documents.shape[1]
    changes = np.ones(documents.shape, np.bool_)
    changes[:, 1:] = documents[:, 1:] != documents[:, :-1]
    begins = np.flatnonzero(changes)
    ends = np.append(begins[1:], documents.size)
    owners = documents.reshape(-1)[begins]
    counts = (ends - begins) // length
    kept = (owners >= 0) & (counts > 0)
    begins = begins[kept]
    return Runs(
        first_row + begins // ctx_len, begins % ctx_len, owners[kept].astype(np.int64), counts[kept].astype(np.int64)
    )
