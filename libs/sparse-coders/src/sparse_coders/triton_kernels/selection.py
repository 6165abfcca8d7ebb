"""The k largest positive values of each row: an exact selection by the bits of float32."""

# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int64
from torch import Tensor

_BLOCK = 1024


@triton.jit
def _kth_largest(row, width, k, BLOCK: tl.constexpr):
    """Returns the bits of the k-th largest value of a row of what is at least 0, and how many of that value to take.

    Bits of such floats are in the order of their values. Each of four passes counts the next 8 bits of those that
    agree with the k-th in all bits before.
    """
    known = tl.zeros((), tl.int32)
    wanted = k
    for step in tl.static_range(4):
        shift = 24 - 8 * step
        counts = tl.zeros((512,), tl.int32)
        for start in range(0, width, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            bits = tl.load(row + columns, mask=columns < width, other=0.0).to(tl.int32, bitcast=True)
            same = (columns < width) & ((bits >> shift) >> 8 == known >> 8 if step else columns >= 0)
            counts += tl.histogram(tl.where(same, (bits >> shift) & 255, 256), 512)
        digits = tl.arange(0, 512)
        counts = tl.where(digits < 256, counts, 0)
        above = tl.sum(counts) - tl.cumsum(counts)
        digit = tl.min(tl.where(above < wanted, digits, 511))
        wanted -= tl.sum(tl.where(digits == digit, above, 0))
        known = (known | digit) << 8 if step < 3 else known | digit
    return known, wanted


@triton.jit
def _strongest(pre, acts, latents, width, k, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    row, acts, latents = pre + token * width, acts + token * k, latents + token * k
    kth, ties = _kth_largest(row, width, k, BLOCK)
    taken, tied = tl.zeros((), tl.int32), tl.zeros((), tl.int32)
    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        values = tl.load(row + columns, mask=columns < width, other=0.0)
        bits = values.to(tl.int32, bitcast=True)
        equal = (bits == kth) & (bits > 0)
        chosen = (bits > kth) | (equal & (tied + tl.cumsum(equal.to(tl.int32)) <= ties))
        places = taken + tl.cumsum(chosen.to(tl.int32)) - 1
        tl.store(acts + places, values, mask=chosen)
        tl.store(latents + places, columns.to(tl.int64), mask=chosen)
        taken += tl.sum(chosen.to(tl.int32))
        tied += tl.sum(equal.to(tl.int32))


def strongest(pre: Float[Tensor, "n d_sae"], k: int) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Returns the k largest values of each row that are above 0 and their columns, in the order of columns.

    Of equal ones at the last place the first are taken. Where fewer are above 0, the rest is 0.

    Args:
        pre: Contiguous float32 of at least 0: pre-activations after a ReLU.
        k: How many of a row.
    """
    acts = pre.new_zeros(len(pre), k)
    latents = torch.zeros(acts.shape, dtype=torch.int64, device=pre.device)
    _strongest[(len(pre),)](pre, acts, latents, pre.shape[1], k, BLOCK=_BLOCK)
    return acts, latents
