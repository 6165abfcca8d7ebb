"""Counting the tokens of prompts before any is sent, and what a budget allows of them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from dragoman.artifacts import Artifact
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress
from latent_cache.token_rows import TokenRows

from explainer.core.budget import affordable
from explainer.core.prompt import Prompt
from explainer.drafting import drafts
from explainer.selecting import read_slice
from explainer.spec import ExplanationsSpec
from explainer.stages import COUNT, parts_of
from explainer.writer import Writer

BUDGET_PART = "budget.json"

_BATCH = 8  # prompts between two signs of life
_MARGIN = 1.25  # another tokenizer's count is rarely further off
_TURN_TOKENS = 8  # what a chat template puts around a turn


def count(
    spec: ExplanationsSpec, context: Context, tokens: Artifact, writer: Writer
) -> Iterator[Progress | Part | Checkpoint]:
    """Yields how many prompt tokens each latent of this task's slice would take; 0 where nothing is asked."""
    latents = read_slice(context)
    drafted = yield from drafts(spec, context, tokens, latents)
    planned = [0] * len(latents)
    asked = [(i, draft.prompt) for i, draft in enumerate(drafted) if draft.prompt is not None]
    counter = ""
    for first in range(0, len(asked), _BATCH):
        batch = asked[first : first + _BATCH]
        counts, counter = _counted([prompt for _, prompt in batch], spec, tokens, writer)
        for (i, _), found in zip(batch, counts, strict=True):
            planned[i] = found
        yield Progress(first + len(batch), len(asked), "prompts", "counting tokens")
    data = json.dumps({"planned": planned, "counter": counter}).encode()
    yield Part(f"counted-{context.task.index:05d}.json", data=data, row_count=len(planned), keep=False)


def _counted(
    prompts: Sequence[Prompt], spec: ExplanationsSpec, tokens: Artifact, writer: Writer
) -> tuple[Sequence[int], str]:
    """Counts by the engine's own tokenizer and template; where it has no such call by the subject model's, and more."""
    assert spec.llm is not None
    counts = writer.count(prompts, spec.llm)
    if counts is not None:
        return counts, "engine"
    tokenizer = TokenRows(tokens).tokenizer()
    encoded = [len(tokenizer.encode(prompt.text(), add_special_tokens=False).ids) for prompt in prompts]
    turns = [2 * len(prompt.shots) + 2 for prompt in prompts]
    return [round(_MARGIN * n) + _TURN_TOKENS * t for n, t in zip(encoded, turns, strict=True)], "subject model"


def budget(spec: ExplanationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
    """Yields how far the budget reaches into the selection, with sums over what it allows as metadata. One task."""
    yield Progress(0, 1, "budgets", "adding up")
    assert spec.llm is not None
    counted: list[Any] = [json.loads(context.own.read(part.name)) for part in parts_of(spec, context, COUNT)]
    planned: list[int] = [n for part in counted for n in part["planned"]]
    longest = spec.llm.max_tokens
    end = affordable([n + longest if n else 0 for n in planned], spec.token_budget)
    asked = [n for n in planned[:end] if n]
    metadata: dict[str, Json] = {
        "planned_prompt_tokens": sum(asked),
        "planned_completion_tokens": longest * len(asked),
        "token_counter": next((part["counter"] for part in counted if part["counter"]), None),
    }
    data = json.dumps({"end": end, "planned": planned}).encode()
    yield Part(BUDGET_PART, data=data, row_count=len(planned), metadata=metadata, keep=False)
