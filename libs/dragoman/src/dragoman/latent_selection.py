"""Which latents a job looks at: part of the specs of several services."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from dragoman.errors import Violation
from dragoman.kinds import Spec

_Int32 = Annotated[int, Field(ge=0, le=2**31 - 1)]


class LatentSelection(Spec):
    """At most one way; what none means, the spec that holds it says."""

    latents: tuple[_Int32, ...] = ()
    ranks: tuple[_Int32, ...] = ()
    count: _Int32 = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("latents", "ranks", "count") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given together; expected at most one of latents, ranks, count")
        for name in ("latents", "ranks"):
            values: tuple[int, ...] = getattr(self, name)
            twice = sorted({v for v in values if values.count(v) > 1}) if len(set(values)) < len(values) else []
            if twice:
                raise ValueError(f"{name} names {twice[0]} more than once; expected each at most once")
        return self

    def out_of_range(self, d_sae: int) -> Iterator[Violation]:
        """Yields what a coder of this many latents does not have."""
        for name, values in (("latents", self.latents), ("ranks", self.ranks)):
            for i, value in enumerate(values):
                if value >= d_sae:
                    yield Violation(f"selection.{name}[{i}]", f"{value} is out of range; expected 0 to {d_sae - 1}")
        if self.count > d_sae:
            yield Violation("selection.count", f"{self.count} latents of {d_sae}; expected 1 to {d_sae}")
