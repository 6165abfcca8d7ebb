"""What the manifest of an explanations job says in numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.artifacts import PartInfo
from dragoman.ids import Json

from explainer.counting import BUDGET_PART
from explainer.drafting import TOKENS
from explainer.explaining import ATTEMPTED, NOT_ASKED
from explainer.selecting import SELECTION
from explainer.spec import ExplanationsSpec, Price
from explainer.writing import outcomes

_MILLION = 1_000_000


def statistics_of(spec: ExplanationsSpec, parts: Sequence[PartInfo]) -> tuple[dict[str, Json], int]:
    """Returns the statistics, and how many attempted latents got no explanation."""
    known = next(part for part in parts if part.name == SELECTION).metadata
    tasks = [part for part in parts if part.name.startswith("explained-")]
    counts = outcomes(tasks)
    attempted = sum(counts[name] for name in ATTEMPTED)
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
        "token_budget": spec.token_budget or None,
        **_planned(spec, parts),
    }
    return statistics, attempted - counts["explained"]


def _planned(spec: ExplanationsSpec, parts: Sequence[PartInfo]) -> dict[str, Json]:
    """What was counted beforehand, null where nothing was."""
    counted: Mapping[str, Any] = next((part.metadata for part in parts if part.name == BUDGET_PART), {})
    prompt, completion = counted.get("planned_prompt_tokens"), counted.get("planned_completion_tokens")
    return {
        "planned_prompt_tokens": prompt,
        "planned_completion_tokens": completion,
        "token_counter": counted.get("token_counter"),
        "planned_cost": _cost(spec.price, prompt, completion),
    }


def _cost(price: Price | None, prompt: int | None, completion: int | None) -> Json:
    """The most that the planned tokens cost: nothing cached, every reply at its longest."""
    if price is None or prompt is None or completion is None:
        return None
    amount = (price.prompt * prompt + price.completion * completion) / _MILLION
    return {"currency": price.currency, "at_most": amount}
