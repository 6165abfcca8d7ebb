"""Sums by key that merge: what is counted by latent and token, or by latent and bin, block by block."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64

_OPERATIONS: Mapping[str, np.ufunc] = {"count": np.add, "weight": np.add, "peak": np.maximum}


class KeyedSums:
    """A table sorted by key. Its size is that of the keys that occur, whatever the number of values added."""

    def __init__(self, **types: Any) -> None:
        """`types`: the columns, of `count`, `weight` (both summed) and `peak` (the largest), with their dtypes."""
        self.keys: Int64[np.ndarray, " keys"] = np.empty(0, np.int64)
        self.columns: dict[str, np.ndarray[Any, Any]] = {n: np.empty(0, dtype) for n, dtype in types.items()}

    def add(self, keys: Int64[np.ndarray, " n"], **columns: "np.ndarray[Any, Any]") -> None:
        """Adds values. Equal keys are summed in the order given, after what is there already."""
        if not len(keys):
            return
        keys, columns = _summed(keys, columns)
        if len(self.keys):
            joined = {n: np.concatenate([self.columns[n], c]) for n, c in columns.items()}
            keys, columns = _summed(np.concatenate([self.keys, keys]), joined)
        self.keys = keys
        self.columns = {n: c.astype(self.columns[n].dtype) for n, c in columns.items()}


def _summed(
    keys: Int64[np.ndarray, " n"], columns: "dict[str, np.ndarray[Any, Any]]"
) -> "tuple[Int64[np.ndarray, ' keys'], dict[str, np.ndarray[Any, Any]]]":
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[firsts], {n: _OPERATIONS[n].reduceat(c[order], firsts) for n, c in columns.items()}
