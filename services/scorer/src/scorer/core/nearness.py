"""How much nearer a text is to some texts than to others, by their vectors."""

import numpy as np
from jaxtyping import Float

_DIGITS = 6
"""An engine's vectors differ in the last bits with what else it embeds at the time; ties must stay ties."""


def nearness(
    query: Float[np.ndarray, " d"], near: Float[np.ndarray, "near d"], far: Float[np.ndarray, "far d"]
) -> float:
    """Returns mean cosine of the query with `near` minus that with `far` (0 where there is none), all of length 1."""
    value = float((near @ query).mean()) - (float((far @ query).mean()) if len(far) else 0.0)
    return round(value, _DIGITS)
