"""What a job that asks a language model may spend. Its prompts are counted before any is sent."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from dragoman.errors import FailedPrecondition, Violation
from dragoman.ids import Json
from dragoman.kinds import Spec
from dragoman.llm.price import Price


class SpendingSpec(Spec):
    """Base of the specs of such jobs."""

    token_budget: int = Field(default=0, ge=0, le=2**63 - 1)
    """Most tokens that the job may spend, prompts and replies together; 0: no limit."""
    cost_budget: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """The most that they may cost, in the currency of `price`; 0: no limit."""
    dry_run: bool = False
    """Count the tokens, ask nothing."""
    price: Price | None = None
    """Filled in at submit where the result depends on it."""

    @property
    def counts_tokens(self) -> bool:
        """Whether prompts are counted before any is sent."""
        return self.dry_run or self.token_budget > 0 or self.cost_budget > 0.0

    @property
    def limit(self) -> str:
        """The budget in words."""
        tokens = f"{self.token_budget} tokens" if self.token_budget else ""
        cost = f"{self.cost_budget:g} {self.price.currency}" if self.cost_budget and self.price else ""
        return " and ".join(filter(None, (tokens, cost)))

    def price_violations(self) -> Sequence[Violation]:
        """Returns what is wrong with a price that is given."""
        if self.price is None or self.dry_run or self.cost_budget:
            return []
        return [Violation("price", "only dry_run and cost_budget have use for a price; leave it out, or give one")]

    def priced(self, known: Price | None) -> Price | None:
        """Returns the price to fill in: the one given, else, where the result depends on it, the operator's.

        Raises FailedPrecondition where a budget of money has no price.
        """
        if self.price is not None or not (self.dry_run or self.cost_budget):
            return self.price
        if self.cost_budget and known is None:
            raise FailedPrecondition(
                "cost_budget needs the price of tokens, and this server knows none; its operator sets "
                "DRAGOMAN_LLM_PRICE_PROMPT and DRAGOMAN_LLM_PRICE_COMPLETION. Or give price, or token_budget",
                reason="NO_PRICE",
            )
        return known

    def allows(self, prompt: int, completion: int, embedded: int = 0, embedding: Price | None = None) -> bool:
        """Returns whether so many tokens are within the budget, none of them cached.

        `embedding`: the price of those that are embedded.
        """
        if self.token_budget and prompt + completion + embedded > self.token_budget:
            return False
        if not self.cost_budget or self.price is None:
            return True
        return self.price.at_most(prompt, completion) + self.embedding_cost(embedded, embedding) <= self.cost_budget

    def embedding_cost(self, tokens: int, price: Price | None) -> float:
        """Returns what is to be added for tokens that are embedded: nothing where their price is not known, or is in
        another currency than `price`; no rate of exchange is guessed."""
        alike = price is not None and self.price is not None and price.currency == self.price.currency
        return price.of(tokens, 0, 0) if alike and price is not None else 0.0


def within_budget(
    counted: Sequence[Mapping[str, Any]], reply_tokens: int, spec: SpendingSpec, embedding: Price | None = None
) -> tuple[int, dict[str, Json]]:
    """Returns how many of the first latents a budget reaches, and sums over those.

    Nothing after the first that does not fit is taken, however cheap: what is finished is a beginning of the selection.

    Args:
        counted: What each counting task wrote, in order: `planned`, by latent the `tokens` of its prompts, how many
            `replies` they get and the tokens `embedded` for it; `shared`, those embedded once for all; and `counter`,
            who counted.
        reply_tokens: The most that a reply takes.
        spec: Has the budget.
        embedding: The price of what is embedded.
    """
    planned: list[Mapping[str, int]] = [each for part in counted for each in part["planned"]]
    shared = max((part.get("shared", 0) for part in counted), default=0)
    end = prompt = completion = embedded = 0
    for each in planned:
        read = (embedded or shared) + each.get("embedded", 0)
        after = prompt + each["tokens"], completion + reply_tokens * each["replies"], read
        if not spec.allows(*after, embedding):
            break
        end, (prompt, completion, embedded) = end + 1, after
    return end, {
        "planned_prompt_tokens": prompt,
        "planned_completion_tokens": completion,
        "planned_embedded_tokens": embedded,
        "planned_embedding_cost": spec.embedding_cost(embedded, embedding),
        "token_counter": next((part["counter"] for part in counted if part["counter"]), None),
    }


def budget_statistics(spec: SpendingSpec, counted: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the statistics of a budget and of what was counted beforehand, null where nothing was.

    counted: the sums of `within_budget`, or nothing.
    """
    prompt, completion = counted.get("planned_prompt_tokens"), counted.get("planned_completion_tokens")
    cost: dict[str, Json] | None = None
    if spec.price is not None and isinstance(prompt, int) and isinstance(completion, int):
        embedding = float(str(counted.get("planned_embedding_cost", 0.0)))
        cost = {"currency": spec.price.currency, "at_most": spec.price.at_most(prompt, completion) + embedding}
    return {
        "token_budget": spec.token_budget or None,
        "cost_budget": spec.cost_budget or None,
        "planned_prompt_tokens": prompt,
        "planned_completion_tokens": completion,
        "token_counter": counted.get("token_counter"),
        "planned_cost": cost,
    }
