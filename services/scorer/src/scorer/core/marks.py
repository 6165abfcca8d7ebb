"""Which tokens are marked: truly, or wrongly without a tell.

Wrong marks are the true marks of another window, laid on this one. Over a latent's examples the right and the wrong
ones then have the same windows and the same sets of marked positions; only which marks lie on which window differs.
A judge that looks at positions alone, or at the text alone, gets the floor exactly.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

MARK_THRESHOLD = 0.3
"""Share of a window's largest activation from which a token counts as marked (delphi's scorers, 2410.13928)."""


def true_marks(activations: Float[np.ndarray, "windows pos"]) -> Bool[np.ndarray, "windows pos"]:
    """Returns the tokens with at least MARK_THRESHOLD of their window's largest activation. Windows must be active."""
    peak = activations.max(axis=1, keepdims=True)
    return (activations > 0.0) & (activations >= MARK_THRESHOLD * peak)


def exchanged_marks(
    activations: Float[np.ndarray, "windows pos"], marks: Bool[np.ndarray, "windows pos"], seed: int
) -> Int[np.ndarray, " windows"]:
    """Returns for each window the window whose marks it is given, or itself where there are none for it.

    The result is a permutation, so each set of marks is used once. No window is given marks on a token that is active
    in it, however weakly. As many windows as possible get marks (an assignment problem; ties broken by the seed).
    Windows that map to themselves must be left out of both classes, or the positions would no longer match.
    """
    count = marks.shape[0]
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    overlap = (activations > 0.0).astype(np.int64) @ marks.astype(np.int64).T
    rng = np.random.Generator(np.random.PCG64(seed))
    # A window left out costs more than any tie-breaking, a forbidden pair more than leaving every window out.
    cost = rng.random((count, count)) / count
    cost[overlap > 0] = 4.0 * (count + 1)
    np.fill_diagonal(cost, 2.0)
    _, columns = linear_sum_assignment(cost)
    return np.asarray(columns, dtype=np.int64)
