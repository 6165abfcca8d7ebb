"""The stage that explains: windows, prompts and replies of some latents."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import Artifact
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Checkpoint, Context, Part, Progress

from explainer.asking import dialogues
from explainer.core.explainers import EXPLAINERS
from explainer.counting import BUDGET_PART
from explainer.drafting import TOKENS, Draft, Row, drafts
from explainer.selecting import read_slice
from explainer.spec import ExplanationsSpec
from explainer.tables import EXPLANATIONS_SCHEMA, WINDOWS_SCHEMA, table_bytes
from explainer.verbaliser import Verbaliser
from explainer.writer import Writer

ATTEMPTED = ("explained", "unparsable", "refused", "timeout", "no_evidence")
"""Outcomes of attempted latents; all but the first are failures."""
NOT_ASKED = ("over_budget", "planned")
"""Outcomes of latents with enough windows about which nothing was asked: for the budget's sake, or in a dry run."""


def explain(
    spec: ExplanationsSpec, context: Context, tokens: Artifact, writer: Writer, verbaliser: Verbaliser
) -> Iterator[Progress | Part | Checkpoint]:
    """Yields progress, and the two tables of this task's slice of the selection."""
    yield Progress(0, 1, "latents", "reading the windows")
    latents = read_slice(context)
    drafted = yield from drafts(spec, context, tokens, latents, None if spec.dry_run else verbaliser)
    if spec.counts_tokens:
        _apply_budget(spec, context, drafted)
    asked = [draft for draft in drafted if draft.evidence is not None]
    done = len(drafted) - len(asked)
    for ended in _answers(spec, asked, writer):
        if ended is not None:
            asked[ended[0]].row.update(ended[1])
            done += 1
        yield Progress(done, len(latents), "latents", metrics=_token_counts([d.row for d in drafted]))
    yield from _parts(drafted, context.task.index)


def _answers(spec: ExplanationsSpec, asked: Sequence[Draft], writer: Writer) -> Iterator[tuple[int, Row] | None]:
    evidence = [draft.evidence for draft in asked if draft.evidence is not None]
    if not evidence:
        return
    assert spec.llm is not None, "an explainer with a prompt has a model: options.FORMS"
    seed = derived_seed(spec.seed, "sampling")
    yield from dialogues(EXPLAINERS[spec.explainer], evidence, spec.llm, seed, writer)


def _apply_budget(spec: ExplanationsSpec, context: Context, drafted: Sequence[Draft]) -> None:
    """Leaves nothing to ask of drafts that the budget does not reach, and of all in a dry run."""
    payload: Any = context.task.payload
    allowed: Any = json.loads(context.own.read(BUDGET_PART))
    for place, draft in enumerate(drafted, start=int(payload["first"])):
        if draft.evidence is None:
            continue
        draft.row["planned_tokens"] = allowed["planned"][place]
        if place >= allowed["end"]:
            reason = f"the budget of {spec.limit} was planned for latents before it"
            draft.row |= {"outcome": "over_budget", "reason": reason, "prompt": None}
            draft.evidence = None
        elif spec.dry_run:
            draft.row |= {"outcome": "planned", "reason": "a dry run asks nothing"}
            draft.evidence = None


def _parts(drafted: Sequence[Draft], index: int) -> Iterator[Part]:
    rows = [draft.row for draft in drafted]
    metadata: dict[str, Json] = {
        "outcomes": dict(sorted(Counter(str(row["outcome"]) for row in rows).items())),
        **{name: sum(row[name] for row in rows) for name in TOKENS},
    }
    table = table_bytes(rows, EXPLANATIONS_SCHEMA)
    yield Part(f"explained-{index:05d}.parquet", data=table, row_count=len(rows), metadata=metadata, keep=False)
    windows = [row for draft in drafted for row in draft.windows]
    table = table_bytes(windows, WINDOWS_SCHEMA)
    yield Part(f"windows-{index:05d}.parquet", data=table, row_count=len(windows), keep=False)


def _token_counts(rows: Sequence[Row]) -> Mapping[str, float]:
    return {name: float(sum(row[name] for row in rows)) for name in TOKENS}
