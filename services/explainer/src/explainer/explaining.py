"""Stage 1: windows, prompts and replies of some latents."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Checkpoint, Context, Part, Progress
from latent_cache import KeptWindows, LatentIndex, Window

from explainer.core.example import Example
from explainer.core.explainers import EXPLAINERS, Explainer
from explainer.core.prompt import Prompt
from explainer.selecting import read_selection
from explainer.spec import ExplanationsSpec
from explainer.tables import EXPLANATIONS_SCHEMA, WINDOWS_SCHEMA, table_bytes
from explainer.windows import Drawn, TrainWindows
from explainer.writer import Writer, Written

ATTEMPTED = ("explained", "unparsable", "refused", "timeout")
NOT_DRAWN = -1
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")

Row = dict[str, Any]


@dataclass(slots=True)
class _Draft:
    """A latent before its reply: its row so far, the rows of its windows, and what to ask (None: nothing)."""

    row: Row
    windows: list[Row]
    prompt: Prompt | None


def explain(
    spec: ExplanationsSpec, context: Context, tokens: Artifact, writer: Writer
) -> Iterator[Progress | Part | Checkpoint]:
    """Yields progress, and the two tables of this task's slice of the selection."""
    yield Progress(0, 1, "latents", "reading the windows")
    payload: Any = context.task.payload
    latents = read_selection(context.own)[payload["first"] : payload["end"]]
    drafting = _Drafting(spec, context, tokens, latents)
    drafts: list[_Draft] = []
    for latent in latents:
        drafts.append(drafting.draft(latent))
        yield Progress(0, len(latents), "latents", f"windows of latent {latent}")
    asked = [draft for draft in drafts if draft.prompt is not None]
    prompts = [draft.prompt for draft in asked if draft.prompt is not None]
    done = len(drafts) - len(asked)
    explainer = EXPLAINERS[spec.explainer]
    for index, written in writer.write(prompts, spec.llm, derived_seed(spec.seed, "sampling")):
        asked[index].row.update(_answered(written, explainer, spec.llm.model))
        done += 1
        yield Progress(done, len(latents), "latents", metrics=_token_counts([d.row for d in drafts]))
    yield from _parts(drafts, context.task.index)


def _parts(drafts: Sequence[_Draft], index: int) -> Iterator[Part]:
    rows = [draft.row for draft in drafts]
    metadata: dict[str, Json] = {
        "outcomes": dict(sorted(Counter(str(row["outcome"]) for row in rows).items())),
        **{name: sum(row[name] for row in rows) for name in _TOKENS},
    }
    table = table_bytes(rows, EXPLANATIONS_SCHEMA)
    yield Part(f"explained-{index:05d}.parquet", data=table, row_count=len(rows), metadata=metadata, keep=False)
    windows = [row for draft in drafts for row in draft.windows]
    table = table_bytes(windows, WINDOWS_SCHEMA)
    yield Part(f"windows-{index:05d}.parquet", data=table, row_count=len(windows), keep=False)


class _Drafting:
    """Makes drafts of latents."""

    def __init__(self, spec: ExplanationsSpec, context: Context, tokens: Artifact, wanted: Sequence[int]) -> None:
        latents = context.inputs["latents"]
        self._spec = spec
        self._windows = TrainWindows(latents, tokens, spec.seed, wanted)
        self._index = self._windows.cache.index
        self._ranks = np.argsort(self._index.ranking())
        self._token_count = int(str(latents.manifest.statistics["token_count"]))
        self._top_windows = KeptWindows.of_spec(latents.id, latents.manifest.spec).top_windows

    def draft(self, latent: int) -> _Draft:
        row = _counted(self._index, latent, int(self._ranks[latent]), self._token_count)
        if row["firing_count"] == 0:
            row |= {"outcome": "dead", "reason": "never fires"}
            return _Draft(row, [], None)
        spec = self._spec
        drawn = self._windows.draw(latent, spec.example_count, spec.sampling, spec.min_windows)
        strongest = self._windows.strongest(latent, self._top_windows)
        windows = [*drawn.windows, *strongest]
        texts = [self._windows.pieces(window) for window in windows]
        shown = len(drawn.windows)
        quantiles = [*drawn.quantiles, *(NOT_DRAWN for _ in strongest)]
        window_rows = [
            _window_row(latent, i, i < shown, window, quantiles[i], texts[i]) for i, window in enumerate(windows)
        ]
        if not shown:
            return _Draft(row | _rare(drawn, spec.min_windows), window_rows, None)
        examples = [Example(texts[i], windows[i].activations) for i in range(shown)]
        prompt = EXPLAINERS[spec.explainer].prompt(examples)
        row["example_count"] = shown
        row["example_documents"] = sorted({window.document for window in drawn.windows})
        row["prompt"] = prompt.text()
        return _Draft(row, window_rows, prompt)


def _counted(index: LatentIndex, latent: int, rank: int, token_count: int) -> Row:
    """A row with what was counted; everything else as for a latent that was not attempted."""
    firing_count = int(index.firing_count[latent])
    return {
        "latent": latent,
        "rank": rank,
        "firing_count": firing_count,
        "firing_count_train": int(index.firing_count_train[latent]),
        "firing_count_test": int(index.firing_count_test[latent]),
        "density": firing_count / max(token_count, 1),
        "max_activation": float(index.max_activation[latent]),
        "token_entropy": float(index.token_entropy[latent]),
        "explanation": None,
        "reason": "",
        "example_count": 0,
        "example_documents": [],
        "prompt": None,
        "reply": None,
        "model": None,
        **dict.fromkeys(_TOKENS, 0),
    }


def _rare(drawn: Drawn, min_windows: int) -> Row:
    seen = f"fires in {drawn.train_count} train and {drawn.test_count} test windows"
    reason = f"{seen}; min_windows asks for {min_windows} in each"
    return {"outcome": "rare", "reason": reason}


def _answered(written: Written, explainer: Explainer, model: str) -> Row:
    row: Row = {"reply": written.text, "model": model, **{name: getattr(written, name) for name in _TOKENS}}
    if written.failure:
        return row | {"outcome": written.failure, "reason": written.reason}
    reply = explainer.parse(written.text, written.finish_reason)
    return row | {"outcome": reply.outcome, "explanation": reply.explanation, "reason": reply.reason}


def _window_row(latent: int, number: int, shown: bool, window: Window, quantile: int, texts: Sequence[str]) -> Row:
    return {
        "latent": latent,
        "window": number,
        "shown": shown,
        "row": window.row,
        "start": window.start,
        "document": window.document,
        "split": window.split,
        "quantile": quantile,
        "max_activation": window.max,
        "tokens": list(texts),
        "activations": window.activations.tolist(),
    }


def _token_counts(rows: Sequence[Row]) -> Mapping[str, float]:
    return {name: float(sum(row[name] for row in rows)) for name in _TOKENS}
