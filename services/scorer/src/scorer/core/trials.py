"""Trials in which one of five windows does not belong, built so that nothing but the windows tells which.

Windows that are alike in strength stand in groups of five, in a seeded order. A group makes five trials: in trial i its
i-th window makes way for an odd one, which takes its place. The other windows, their order and, where the odd window
carries the marks of the one that it stands for, all marks are those of every trial of the group. So a judge that sees
only places or marks answers alike in all five and is right in exactly one of them.
"""

from collections.abc import Sequence

import numpy as np
from dragoman.ids import derived_seed
from jaxtyping import Int

from scorer.core.examples import Example, Shown

GROUP = 5
"""Windows in a trial (2507.08473: four and an intruder)."""


def whole_groups(count: int) -> int:
    """Returns how many of `count` windows fill groups."""
    return count // GROUP * GROUP


def strength_groups(quantiles: Int[np.ndarray, " windows"], seed: int) -> Int[np.ndarray, "groups group"]:
    """Returns numbers of windows, five neighbours in strength a group, the strongest group first.

    With five windows of each decile a group is a decile. The order within a group is drawn by the seed.
    """
    count = whole_groups(len(quantiles))
    rng = np.random.Generator(np.random.PCG64(seed))
    order = np.argsort(-quantiles.astype(np.int64), kind="stable")[:count]
    groups = order.reshape(-1, GROUP)
    return rng.permuted(groups, axis=1)


def like_strength(quantiles: Int[np.ndarray, " windows"], which: int, count: int) -> list[int]:
    """Returns numbers of up to `count` other windows, those nearest in strength first."""
    distances = np.abs(quantiles.astype(np.int64) - int(quantiles[which]))
    return [int(i) for i in np.argsort(distances, kind="stable") if i != which][:count]


def rotated(latent: int, group: Sequence[Shown], odd: Sequence[Shown], type_: str, series: int) -> list[Example]:
    """Returns the five trials of a group; `odd[i]` stands in the i-th window's place. `series` names the group."""
    return [
        Example(
            latent, odd[place].window, type_, True, odd[place].quantile, odd[place].marks,
            (*group[:place], odd[place], *group[place + 1 :]), place, 1 + series * GROUP + place,
        )
        for place in range(GROUP)
    ]  # fmt: skip


def groups_seed(seed: int, latent: int, *names: object) -> int:
    """Returns the seed of a latent's groups."""
    return derived_seed("trials", seed, latent, *names)
