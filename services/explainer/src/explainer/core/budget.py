"""How far a number of tokens reaches."""

from collections.abc import Sequence


def affordable(costs: Sequence[int], budget: int) -> int:
    """Returns how many of the first costs add up to no more than the budget; all of them where it is 0 (no limit).

    Nothing after the first that does not fit is taken, however cheap: what is finished is a beginning of the selection.
    """
    if not budget:
        return len(costs)
    total = 0
    for number, cost in enumerate(costs):
        total += cost
        if total > budget:
            return number
    return len(costs)
