"""The stages of a scores job, by name."""

from collections.abc import Sequence

from dragoman.artifacts import PartInfo
from dragoman.kinds import Context

from scorer.spec import ScoresSpec

COUNT, BUDGET, JUDGE, TABLES = "count", "budget", "judge", "tables"


def stage_names(spec: ScoresSpec) -> Sequence[str]:
    """Returns the stages of a job in order; only one that counts tokens beforehand has the first two."""
    counting = (COUNT, BUDGET) if spec.counts_tokens else ()
    return (*counting, JUDGE, TABLES)


def parts_of(spec: ScoresSpec, context: Context, stage: str) -> Sequence[PartInfo]:
    """Returns the parts of an earlier stage, in the order of its tasks."""
    return context.parts[stage_names(spec).index(stage)]
