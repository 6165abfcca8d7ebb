"""Whether a model's weights fit into a memory. Imports no torch."""

from dragoman.host_memory import GIB

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def weights_bytes(parameter_count: int, dtype: str) -> int:
    """Returns the bytes of a model's weights, the least that it takes in memory."""
    return parameter_count * ELEMENT_BYTES[dtype]


def does_not_fit(parameter_count: int, dtype: str, available: int, where: str) -> str | None:
    """Returns why a model's weights are too large for a memory, with both sizes; None when they are not."""
    needed = weights_bytes(parameter_count, dtype)
    if needed <= available:
        return None
    smaller = "use bfloat16, " if dtype == "float32" else ""
    return (
        f"its {parameter_count:,} parameters take {needed / GIB:.3g} GiB as {dtype}, {where} has "
        f"{available / GIB:.3g} GiB; {smaller}a smaller model or a worker with more memory"
    )
