"""Functions over NumPy arrays compiled to machine code by Numba, which needs no compiler on the user's machine."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from jaxtyping import Float32
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_F = TypeVar("_F", bound=Callable[..., Any])
Real: TypeAlias = Any
"""A float32 of compiled code, which the type checker takes for any element, row or array of NumPy's."""
# Sums may be taken in several lanes and products fused into them: the result depends on the machine's vector width, as
# in any BLAS, but never on the number of threads. What is not a number stays so.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}


def compiled(function: _F) -> _F:
    """Returns the function compiled at its first call, without the interpreter's lock while it runs.

    Machine code is kept beside the source, or in the user's cache folder; where neither can be written (a read-only
    container), each process compiles for itself, some seconds long. NUMBA_CACHE_DIR names another place.
    """
    try:
        return cast(_F, numba.njit(function, cache=True, **_OPTIONS))
    except RuntimeError:
        return cast(_F, numba.njit(function, **_OPTIONS))


def inlined(function: _F) -> _F:
    """Returns the function for use inside compiled ones."""
    return cast(_F, numba.njit(function, inline="always", **_OPTIONS))


def _primitive(code: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of compiled code that is given as what it is in LLVM."""
    return intrinsic(code)


@_primitive
def score_of(typing_context: Any, value: Any) -> Any:
    """A pre-activation as float32: a float32 itself, or the bits of a bfloat16 as a uint16."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if value == types.float32:
            return arguments[0]
        wide = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(wide, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(value), code


@_primitive
def bfloat16_of(typing_context: Any, value: Any) -> Any:
    """The bits of the bfloat16 nearest to a float32, ties to even, as a uint16."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        bits = builder.bitcast(arguments[0], word)
        odd = builder.and_(builder.lshr(bits, ir.Constant(word, 16)), ir.Constant(word, 1))
        up = builder.add(builder.add(bits, ir.Constant(word, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(up, ir.Constant(word, 16)), ir.IntType(16))

    return types.uint16(types.float32), code


@_primitive
def _prefetch(typing_context: Any, row: Any, place: Any) -> Any:

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        hint = [ir.Constant(word, value) for value in (0, 3, 1)]  # to read, for long, data
        kind = ir.FunctionType(ir.VoidType(), [byte.type, word, word, word])
        builder.call(builder.module.declare_intrinsic("llvm.prefetch", [byte.type], kind), [byte, *hint])
        return context.get_dummy_value()

    return types.void(row, types.intp), code


@inlined
def fetch(row: Float32[np.ndarray, " width"]) -> None:
    """Asks the memory for a row that is needed soon: rows of large tables lie where no prefetcher looks."""
    for i in range(0, len(row), 16):
        _prefetch(row, i)
