"""What the manifest of an explanations job says in numbers."""

from collections.abc import Mapping, Sequence

from dragoman.artifacts import PartInfo
from dragoman.ids import Json
from dragoman.llm.budget import budget_statistics

from explainer.counting import BUDGET_PART
from explainer.drafting import TOKENS
from explainer.explaining import ATTEMPTED, NOT_ASKED
from explainer.selecting import SELECTION
from explainer.spec import ExplanationsSpec
from explainer.writing import outcomes


def statistics_of(spec: ExplanationsSpec, parts: Sequence[PartInfo]) -> tuple[dict[str, Json], int]:
    """Returns the statistics, and how many attempted latents got no explanation."""
    known = next(part for part in parts if part.name == SELECTION).metadata
    tasks = [part for part in parts if part.name.startswith("explained-")]
    counts = outcomes(tasks)
    attempted = sum(counts[name] for name in ATTEMPTED)
    counted: Mapping[str, Json] = next((part.metadata for part in parts if part.name == BUDGET_PART), {})
    failed: dict[str, Json] = {name: counts[name] for name in ATTEMPTED[1:]}
    tokens: dict[str, Json] = {name: sum(int(str(part.metadata[name])) for part in tasks) for name in TOKENS}
    statistics: dict[str, Json] = {
        "total": known["total"],
        "dead": known["dead"],
        "rare": known["rare"],
        "selected": attempted + sum(counts[name] for name in ("dead", "rare", *NOT_ASKED)),
        "selected_dead": counts["dead"],
        "selected_rare": counts["rare"],
        "over_budget": counts["over_budget"],
        "planned": counts["planned"],
        "attempted": attempted,
        "parsed": counts["explained"],
        "failed_by_outcome": failed,
        **tokens,
        "model": spec.llm.model if spec.llm else "",
        "explainer": spec.explainer,
        "prompt_version": spec.prompt_version,
        **budget_statistics(spec, counted),
    }
    return statistics, attempted - counts["explained"]
