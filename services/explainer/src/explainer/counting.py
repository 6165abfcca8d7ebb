"""Counting the tokens of prompts before any is sent, and what a budget allows of them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from dragoman.artifacts import Artifact
from dragoman.kinds import Checkpoint, Context, Part, Progress
from dragoman.llm.budget import within_budget
from dragoman.llm.token_count import estimated
from latent_cache.token_rows import TokenRows

from explainer.core.explainers import EXPLAINERS
from explainer.core.prompt import Prompt
from explainer.drafting import drafts
from explainer.selecting import read_slice
from explainer.spec import ExplanationsSpec
from explainer.stages import COUNT, parts_of
from explainer.writer import Writer

BUDGET_PART = "budget.json"


def count(
    spec: ExplanationsSpec, context: Context, tokens: Artifact, writer: Writer
) -> Iterator[Progress | Part | Checkpoint]:
    """Yields how many prompts, of how many tokens, each latent of this task's slice would take."""
    latents = read_slice(context)
    drafted = yield from drafts(spec, context, tokens, latents)
    explainer = EXPLAINERS[spec.explainer]
    planned: list[dict[str, int]] = []
    counter, rows = "", TokenRows(tokens)
    for done, draft in enumerate(drafted, start=1):
        prompts = [] if draft.evidence is None else explainer.planned(draft.evidence)
        counts, counter = _counted(prompts, spec, rows, writer) if prompts else ([], counter)
        planned.append({"tokens": sum(counts), "replies": len(counts)})
        yield Progress(done, len(latents), "latents", "counting tokens")
    data = json.dumps({"planned": planned, "counter": counter}).encode()
    yield Part(f"counted-{context.task.index:05d}.json", data=data, row_count=len(planned), keep=False)


def _counted(
    prompts: Sequence[Prompt], spec: ExplanationsSpec, rows: TokenRows, writer: Writer
) -> tuple[Sequence[int], str]:
    """Counts by the engine's own tokenizer and template; where it has no such call by the subject model's, and more."""
    assert spec.llm is not None
    counts = writer.count(prompts, spec.llm)
    if counts is not None:
        return counts, "engine"
    tokenizer = rows.tokenizer()
    encoded = [len(tokenizer.encode(prompt.text(), add_special_tokens=False).ids) for prompt in prompts]
    turns = [2 * len(prompt.shots) + 2 for prompt in prompts]
    return [estimated(n, t) for n, t in zip(encoded, turns, strict=True)], "subject model"


def budget(spec: ExplanationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
    """Yields how far the budget reaches into the selection, with sums over what it allows as metadata. One task."""
    yield Progress(0, 1, "budgets", "adding up")
    assert spec.llm is not None
    counted: list[Any] = [json.loads(context.own.read(part.name)) for part in parts_of(spec, context, COUNT)]
    end, sums = within_budget(counted, spec.llm.max_tokens, spec)
    planned = [each["tokens"] for part in counted for each in part["planned"]]
    data = json.dumps({"end": end, "planned": planned}).encode()
    yield Part(BUDGET_PART, data=data, row_count=len(planned), metadata=sums, keep=False)
