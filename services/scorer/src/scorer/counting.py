"""Counting the tokens of questions before any is put, and how far a budget reaches into the selection."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dragoman.artifacts import PartInfo
from dragoman.kinds import Context, Part, Progress
from dragoman.llm.budget import SpendingSpec, within_budget
from dragoman.llm.price import Price
from dragoman.llm.token_count import estimated
from latent_cache.token_rows import TokenRows

from scorer.asking import Asking
from scorer.embedder import Embedder
from scorer.judge import Judge
from scorer.spec import ScoresSpec

BUDGET_PART = "budget.json"
OVER_BUDGET, PLANNED = "over_budget", "planned"
"""Why nothing was asked about a latent: for the budget's sake, or in a dry run."""


def count(
    spec: ScoresSpec, context: Context, asking: Asking, judge: Judge, embedder: Embedder | None
) -> Iterator[Progress | Part]:
    """Yields how many prompts, of how many tokens, each latent of this task would take, and what would be embedded."""
    latents, rows = asking.attempted, TokenRows(asking.tokens)
    planned = {latent: {"tokens": 0, "replies": 0} for latent in latents}
    counter = ""
    for done, (latent, questions) in enumerate(asking.questions(), start=1):
        prompts = judge.planned([question.request for question in questions], spec.llm)
        counts = judge.count(prompts, spec.llm)
        counter = "subject model" if counts is None else "engine"
        planned[latent] = {"tokens": sum(estimates(prompts, rows) if counts is None else counts)}
        planned[latent]["replies"] = len(prompts)
        yield Progress(done, len(latents), "latents", "counting tokens")
    shared = 0
    if asking.near is not None and embedder is not None:
        if context.task.index == 0:
            shared = _embedded(list(dict.fromkeys(asking.near.candidates.values())), spec, embedder, rows)
        for latent, texts in asking.near.own_texts.items():
            planned[latent]["embedded"] = _embedded(texts, spec, embedder, rows)
    yield counted_part(context, [planned[latent] for latent in latents], counter, shared)


def _embedded(texts: Sequence[str], spec: ScoresSpec, embedder: Embedder, rows: TokenRows) -> int:
    counts = embedder.count(texts, spec.embedder)
    return sum(estimates(texts, rows) if counts is None else counts)


def counted_part(context: Context, planned: Sequence[Mapping[str, int]], counter: str, shared: int = 0) -> Part:
    """Returns what a counting task found: of each latent the `tokens` of its prompts and their number, `replies`, and
    what would be `embedded` of its own; `shared`: tokens that are embedded once for all tasks."""
    data = json.dumps({"planned": planned, "counter": counter, "shared": shared}).encode()
    return Part(f"counted-{context.task.index:05d}.json", data=data, row_count=len(planned), keep=False)


def estimates(prompts: Sequence[str], rows: TokenRows) -> Sequence[int]:
    """By the subject model's tokenizer, and more, where the engine has no such call."""
    tokenizer = rows.tokenizer()
    return [estimated(len(tokenizer.encode(prompt, add_special_tokens=False).ids)) for prompt in prompts]


def budget(
    spec: SpendingSpec, reply_tokens: int, parts: Sequence[PartInfo], context: Context, embedding: Price | None = None
) -> Iterator[Progress | Part]:
    """Yields how far the budget reaches into the selection, with sums over what it allows as metadata. One task.

    parts: those of the counting tasks. reply_tokens: the most that a reply takes. embedding: price of what is embedded.
    """
    yield Progress(0, 1, "budgets", "adding up")
    counted: list[Any] = [json.loads(context.own.read(part.name)) for part in parts]
    end, sums = within_budget(counted, reply_tokens, spec, embedding)
    row_count = sum(len(part["planned"]) for part in counted)
    yield Part(
        BUDGET_PART,
        data=json.dumps({"end": end}).encode(),
        row_count=row_count,
        metadata={**sums, "end": end},
        keep=False,
    )


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a job's questions go into the selection."""

    end: int
    """Latents before this place are within the budget."""
    asks: bool
    """False in a dry run."""

    @classmethod
    def of(cls, spec: SpendingSpec, context: Context, count: int) -> "Reach":
        """Reads what was counted, if anything was; `count` latents are attempted."""
        end = int(json.loads(context.own.read(BUDGET_PART))["end"]) if spec.counts_tokens else count
        return cls(end, not spec.dry_run)

    def unasked(self, place: int) -> str | None:
        """Returns why nothing was asked about the latent at a place of the selection, None where something was."""
        if place >= self.end:
            return OVER_BUDGET
        return None if self.asks else PLANNED
