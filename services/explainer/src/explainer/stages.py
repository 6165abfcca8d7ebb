"""The stages of an explanations job, by name."""

from collections.abc import Sequence

from dragoman.artifacts import PartInfo
from dragoman.kinds import Context

from explainer.spec import ExplanationsSpec

SELECT, COUNT, BUDGET, EXPLAIN, WRITE = "select", "count", "budget", "explain", "write"


def stage_names(spec: ExplanationsSpec) -> Sequence[str]:
    """Returns the stages of a job in order; only one that counts tokens beforehand has those between."""
    counting = (COUNT, BUDGET) if spec.counts_tokens else ()
    return (SELECT, *counting, EXPLAIN, WRITE)


def parts_of(spec: ExplanationsSpec, context: Context, stage: str) -> Sequence[PartInfo]:
    """Returns the parts of an earlier stage, in the order of its tasks."""
    return context.parts[stage_names(spec).index(stage)]
