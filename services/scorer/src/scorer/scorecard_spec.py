"""Spec of the kind `scorecard`: dragoman.scoring.v1.ScorecardSpec, field by field."""

from typing import Annotated, Self

from dragoman.kinds import Spec
from pydantic import Field, model_validator

_Id = Annotated[str, Field(min_length=1)]


class RunRef(Spec):
    """One side of a comparison."""

    scores_ids: tuple[_Id, ...] = Field(min_length=1)
    """Scores artifacts, one for each scorer."""
    explanations_id: _Id
    """The explanations that were scored."""
    evaluation_id: str = ""
    """The coder's evaluation; empty when the report shall have no reconstruction metrics for this side."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = sorted({i for i in self.scores_ids if self.scores_ids.count(i) > 1})
        if twice:
            raise ValueError(f"scores_ids names {twice[0]} more than once; expected one scores artifact per scorer")
        return self


class ScorecardSpec(Spec):
    """Trained against control: verdicts, tables, report."""

    trained: RunRef
    control: RunRef
    title: str = Field(default="", max_length=500)
    """Shown at the head of the report."""
    confidence: float = Field(default=0.95, ge=0.5, le=0.999)
    """Two-sided confidence of intervals."""
    bootstrap_count: int = Field(default=10_000, ge=100, le=100_000)
    """Bootstrap resamples of latents."""
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1)
