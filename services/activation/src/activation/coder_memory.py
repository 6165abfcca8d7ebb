"""Whether a model and the coders that run beside it fit into a worker's memory. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from dragoman.host_memory import GIB
from hooked_models.description import ModelDescription
from hooked_models.memory import weights_bytes


def coder_bytes(statistics: Mapping[str, Any]) -> int:
    """Returns the bytes of a coder's matrices: in float32, and of a TopK coder W_enc in bfloat16, which is searched.

    >>> coder_bytes({"d_model": 10, "d_sae": 100, "k": 2})
    10000
    """
    d_model, d_sae = int(statistics["d_model"]), int(statistics["d_sae"])
    d_out = int(statistics.get("d_out") or d_model)
    rounded = 2 * d_model if statistics.get("k") else 0
    return d_sae * (4 * (d_model + d_out) + rounded)


def check_coders_fit(
    coders: Mapping[str, InputInfo], model: ModelDescription, dtype: str, available: int | None
) -> None:
    """Raises InvalidSpec, with all sizes, when a model and coders that are held together are more than a memory.

    Args:
        coders: By the fields that name them; those that are not committed yet are not counted.
        model: Held too.
        dtype: Of its weights.
        available: Bytes that a worker has; None: not known.
    """
    sizes = {field: coder_bytes(coder.manifest.statistics) for field, coder in coders.items() if coder.manifest}
    weights = weights_bytes(model.parameter_count, dtype)
    if available is None or not sizes or weights + sum(sizes.values()) <= available:
        return
    held = "the coder takes" if len(sizes) == 1 else f"the {len(sizes)} coders take"
    raise InvalidSpec(
        f"{held} {sum(sizes.values()) / GIB:.3g} GiB beside the model's {weights / GIB:.3g} GiB, a worker has "
        f"{available / GIB:.3g} GiB; use fewer or smaller coders, or a worker with more memory",
        field=max(sizes, key=lambda field: sizes[field]),
        reason="CODER_TOO_LARGE",
    )
