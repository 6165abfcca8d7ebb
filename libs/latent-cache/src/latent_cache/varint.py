"""Integers in as few bytes as they need: seven bits a byte, lowest first, the eighth bit says that more follow."""

import numpy as np
from jaxtyping import Int64, UInt8

_PAYLOAD = 0x7F
_MORE = 0x80
_MOST_BYTES = 9


def encode_varints(values: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, " bytes"]:
    """Returns the bytes of values in [0, 2^63), one after the other. Raises ValueError for a negative one."""
    if len(values) and int(values.min()) < 0:
        raise ValueError(f"{int(values.min())} is negative; expected integers from 0")
    lengths = np.ones(len(values), np.int64)
    # Most gaps are small: what the largest integer does not need is not looked at.
    for i in range(1, -(-int(values.max(initial=0)).bit_length() // 7)):
        lengths += values >= 1 << (7 * i)
    at = np.cumsum(lengths) - lengths
    data = np.empty(int(lengths.sum()), np.uint8)
    while len(values):
        more = values > _PAYLOAD
        data[at] = (values.astype(np.uint8) & _PAYLOAD) | (more.view(np.uint8) << 7)
        values, at = values[more] >> 7, at[more] + 1
    return data


def varint_ends(data: UInt8[np.ndarray, " bytes"]) -> Int64[np.ndarray, " n"]:
    """Returns the place of the last byte of each integer."""
    return np.flatnonzero(data < _MORE)


def decode_varints(data: UInt8[np.ndarray, " bytes"], count: int) -> Int64[np.ndarray, " count"]:
    """Inverse of `encode_varints`. Raises ValueError when the bytes are not exactly `count` integers."""
    ends = varint_ends(data)
    if len(ends) != count or (len(data) and (not count or ends[-1] != len(data) - 1)):
        raise ValueError(f"{len(data)} bytes hold {len(ends)} integers; expected {count}")
    if not count:
        return np.empty(0, np.int64)
    lengths = np.diff(ends, prepend=-1)
    if int(lengths.max()) > _MOST_BYTES:
        raise ValueError(f"an integer of {int(lengths.max())} bytes; expected at most {_MOST_BYTES}")
    starts = ends - lengths + 1
    values = (data[starts] & _PAYLOAD).astype(np.int64)
    for i in range(1, int(lengths.max())):
        here = lengths > i
        values[here] |= (data[starts[here] + i] & _PAYLOAD).astype(np.int64) << (7 * i)
    return values
