"""A sweep's combinations, in the order in which its coders are answered."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sae_trainer.core.architectures import WITH_K

LARGEST_SWEEP = 1000
_FIELDS: Mapping[str, str] = {
    "architectures": "architecture",
    "ks": "k",
    "hookpoints": "hookpoint",
    "learning_rates": "learning_rate",
    "seeds": "seed",
}
"""List of a sweep to the field of a coder's spec that it stands for. The first changes slowest."""


class Combination(NamedTuple):
    """One coder of a sweep."""

    label: str
    """What sets it apart: "architecture=topk k=32"."""
    spec: Mapping[str, Any]
    """As it would be given to SubmitCoder."""


def combinations(base: Mapping[str, Any], lists: Mapping[str, Sequence[Any]]) -> Iterator[Combination]:
    """Yields one spec for each combination of what is listed; an empty list leaves the field of base as it is.

    Architectures are compared at equal L0: what `ks` lists is k where the architecture has one, else target_l0.
    """
    given = {field: lists[name] for name, field in _FIELDS.items() if lists.get(name)}
    for values in itertools.product(*given.values()):
        chosen = dict(zip(given, values, strict=True))
        architecture = chosen.get("architecture", base.get("architecture", "topk"))
        if "k" in chosen and architecture not in WITH_K:
            chosen = {"target_l0" if name == "k" else name: value for name, value in chosen.items()}
        yield Combination(" ".join(f"{name}={value}" for name, value in chosen.items()), {**base, **chosen})


def repeated(lists: Mapping[str, Sequence[Any]]) -> Mapping[str, Any]:
    """Returns, by list, a value that is there twice."""
    found: dict[str, Any] = {}
    for name, values in lists.items():
        for index, value in enumerate(values):
            if value in values[:index]:
                found[name] = value
    return found
