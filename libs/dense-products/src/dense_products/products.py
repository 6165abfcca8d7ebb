"""`linear` in float32, by oneDNN where MKL keeps off a processor's wide registers.

PyTorch multiplies float32 matrices with MKL, which takes its AVX2 path on a processor that is not Intel's. oneDNN,
which PyTorch brings too and uses for other types, asks the processor alone: on AMD's with AVX-512 it multiplies twice
as fast (docs/performance.md has figures). Both add up in float32; they round in another order.
"""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_LEAST_ROWS = 2
"""A single row is a matrix times a vector: bound by memory, and rounded in an order of its own."""


def linear(
    x: Float[Tensor, "*rows d_in"], weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None = None
) -> Float[Tensor, "*rows d_out"]:
    """Returns x weight^T + bias, as `torch.nn.functional.linear` does; any strides, types and devices.

    A row's result does not depend on how many rows come with it, from two on.
    """
    if _suits(x, weight, bias):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


@cache
def prefers_onednn() -> bool:
    """Returns whether this processor multiplies float32 faster by oneDNN: AMD's with AVX-512."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and _vendor() == "AuthenticAMD"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _vendor() -> str:
    """Returns the processor's maker as it calls itself; "" where the kernel does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def _suits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Returns whether oneDNN may do it: nothing to differentiate, to cast or to leave to a tensor's own ways."""
    return (
        prefers_onednn()
        and torch.backends.mkldnn.enabled
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and all(_plain(tensor) for tensor in (x, weight, bias) if tensor is not None)
        and x.numel() >= _LEAST_ROWS * x.shape[-1] > 0
    )


def _plain(tensor: Tensor) -> bool:
    """Returns whether a tensor is float32 numbers on the CPU; those of subclasses may be quantised or sharded."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.dtype is torch.float32
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
    )
