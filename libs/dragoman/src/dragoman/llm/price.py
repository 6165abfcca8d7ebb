"""What tokens cost, and how far a number of them reaches."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.kinds import Spec

_MILLION = 1_000_000


class Price(Spec):
    """What a million tokens cost."""

    currency: str = Field(default="USD", min_length=1, max_length=16)
    prompt: float = Field(ge=0.0)
    completion: float = Field(ge=0.0)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Price | None":
        """Reads DRAGOMAN_LLM_PRICE_PROMPT, _PRICE_COMPLETION and DRAGOMAN_LLM_CURRENCY; None where no price is set.

        Raises InvalidSpec for what is no price.
        """
        currency = environ.get("DRAGOMAN_LLM_CURRENCY") or "USD"
        prompt, completion = (environ.get(f"DRAGOMAN_LLM_PRICE_{what}") for what in ("PROMPT", "COMPLETION"))
        if not prompt and not completion:
            return None
        return cls(
            currency=currency,
            prompt=_number("DRAGOMAN_LLM_PRICE_PROMPT", prompt),
            completion=_number("DRAGOMAN_LLM_PRICE_COMPLETION", completion),
        )

    def at_most(self, prompt: int, completion: int) -> dict[str, Json]:
        """Returns the most that so many tokens cost: none of them cached."""
        amount = (self.prompt * prompt + self.completion * completion) / _MILLION
        return {"currency": self.currency, "at_most": amount}


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


def within_budget(counted: Sequence[Mapping[str, Any]], reply_tokens: int, budget: int) -> tuple[int, dict[str, Json]]:
    """Returns how many of the first latents a budget reaches, and sums over those.

    Args:
        counted: What each counting task wrote, in order: `planned`, by latent the `tokens` of its prompts and how many
            `replies` they get, and `counter`, who counted.
        reply_tokens: The most that a reply takes.
        budget: In tokens; 0: no limit.
    """
    planned: list[Mapping[str, int]] = [each for part in counted for each in part["planned"]]
    end = affordable([each["tokens"] + reply_tokens * each["replies"] for each in planned], budget)
    return end, {
        "planned_prompt_tokens": sum(each["tokens"] for each in planned[:end]),
        "planned_completion_tokens": reply_tokens * sum(each["replies"] for each in planned[:end]),
        "token_counter": next((part["counter"] for part in counted if part["counter"]), None),
    }


def planned_statistics(counted: Mapping[str, Json], price: Price | None) -> dict[str, Json]:
    """Returns the statistics of what was counted beforehand, null where nothing was."""
    prompt, completion = counted.get("planned_prompt_tokens"), counted.get("planned_completion_tokens")
    cost = None
    if price is not None and isinstance(prompt, int) and isinstance(completion, int):
        cost = price.at_most(prompt, completion)
    return {
        "planned_prompt_tokens": prompt,
        "planned_completion_tokens": completion,
        "token_counter": counted.get("token_counter"),
        "planned_cost": cost,
    }


def _number(name: str, raw: str | None) -> float:
    try:
        value = float(raw or "0")
    except ValueError:
        value = -1.0
    if not 0.0 <= value < math.inf:
        raise InvalidSpec(f"{raw!r} is no price of a million tokens; expected a number from 0", field=name)
    return value
