"""Latents before their reply: rows, windows, and what to ask."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.kinds import Context, Progress
from dragoman.llm import Failure
from latent_cache import KeptWindows, LatentIndex, Window

from explainer.core.evidence import Evidence
from explainer.core.explainers import EXPLAINERS
from explainer.gathering import Gathered, Gathering, places_of, with_assumed_passages, with_passages
from explainer.spec import ExplanationsSpec
from explainer.verbaliser import Verbaliser

NOT_DRAWN = -1
TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")

Row = dict[str, Any]


@dataclass(slots=True)
class Draft:
    """A latent before its reply: its row so far, the rows of its windows, and what to ask of (None: nothing)."""

    row: Row
    windows: list[Row]
    evidence: Evidence | None


def drafts(
    spec: ExplanationsSpec,
    context: Context,
    tokens: Artifact,
    latents: Sequence[int],
    verbaliser: Verbaliser | None = None,
) -> Generator[Progress, None, list[Draft]]:
    """Yields progress; returns a draft for each latent.

    `verbaliser`: asked where the explainer takes its texts; without it, texts of the longest length stand for them.
    """
    drafting = _Drafting(spec, context, tokens, latents)
    found: dict[int, Gathered] = {}
    for latent in latents:
        if drafting.has_windows(latent):
            found[latent] = drafting.gathering.of(latent)
        yield Progress(0, len(latents), "latents", f"windows of latent {latent}")
    if spec.nla is not None and verbaliser is not None:
        found = yield from _verbalised(spec, found, verbaliser)
    elif spec.nla is not None:
        found = {latent: with_assumed_passages(gathered) for latent, gathered in found.items()}
    return [drafting.draft(latent, found.get(latent)) for latent in latents]


def _verbalised(
    spec: ExplanationsSpec, found: Mapping[int, Gathered], verbaliser: Verbaliser
) -> Generator[Progress, None, dict[int, Gathered]]:
    assert spec.nla is not None
    places = [(latent, place) for latent, gathered in found.items() for place in places_of(gathered)]
    said: list[str | None] = [None] * len(places)
    asked = verbaliser.describe([place for _, place in places], spec.nla)
    for done, (index, text) in enumerate(asked, start=1):
        said[index] = None if isinstance(text, Failure) else text
        yield Progress(0, len(found), "latents", f"{done} of {len(places)} activations in words")
    by_latent = {latent: [text for (of, _), text in zip(places, said, strict=True) if of == latent] for latent in found}
    last = spec.nla.last_paragraph
    return {latent: with_passages(gathered, by_latent[latent], last) for latent, gathered in found.items()}


class _Drafting:
    """Makes drafts of the latents of one task."""

    def __init__(self, spec: ExplanationsSpec, context: Context, tokens: Artifact, wanted: Sequence[int]) -> None:
        latents = context.inputs["latents"]
        self._spec = spec
        self.gathering = Gathering(spec, context, tokens, wanted)
        self._index = self.gathering.windows.cache.index
        self._ranks = np.argsort(self._index.ranking())
        self._token_count = int(str(latents.manifest.statistics["token_count"]))
        self._top_windows = KeptWindows.of_spec(latents.id, latents.manifest.spec).top_windows

    def has_windows(self, latent: int) -> bool:
        """Whether a latent is attempted: it fires in enough windows of either split."""
        return min(self.gathering.windows.counts(latent)) >= self._spec.min_windows

    def draft(self, latent: int, gathered: Gathered | None) -> Draft:
        """`gathered`: None for a latent that is not attempted."""
        row = _counted(self._index, latent, int(self._ranks[latent]), self._token_count)
        if row["firing_count"] == 0:
            return Draft(row | {"outcome": "dead", "reason": "never fires"}, [], None)
        windows = self._window_rows(latent, gathered)
        if gathered is None:
            return Draft(row | self._rare(latent), windows, None)
        shown = [*gathered.drawn.windows, *gathered.counters]
        row["example_count"] = len(gathered.drawn.windows)
        row["example_documents"] = sorted({window.document for window in shown} | gathered.documents)
        row["source_latent"] = gathered.source_latent
        if gathered.missing:
            return Draft(row | {"outcome": "no_evidence", "reason": gathered.missing}, windows, None)
        return _explained(row, windows, self._spec.explainer, gathered)

    def _rare(self, latent: int) -> Row:
        train, test = self.gathering.windows.counts(latent)
        seen = f"fires in {train} train and {test} test windows"
        return {"outcome": "rare", "reason": f"{seen}; min_windows asks for {self._spec.min_windows} in each"}

    def _window_rows(self, latent: int, gathered: Gathered | None) -> list[Row]:
        """The windows shown, counter-examples after the others, then the strongest of both splits."""
        drawn, counters = (gathered.drawn, gathered.counters) if gathered else (None, ())
        windows = [*(drawn.windows if drawn else ()), *counters]
        shown = len(windows)
        quantiles = list(drawn.quantiles) if drawn else []
        windows += self.gathering.windows.strongest(latent, self._top_windows)
        quantiles += [NOT_DRAWN] * (len(windows) - len(quantiles))
        pieces = self.gathering.windows.pieces
        return [
            _window_row(latent, i, i < shown, window, quantiles[i], pieces(window)) for i, window in enumerate(windows)
        ]


def _explained(row: Row, windows: list[Row], name: str, gathered: Gathered) -> Draft:
    explainer = EXPLAINERS[name]
    if explainer.text is not None:
        row |= {"outcome": "explained", "explanation": explainer.text(gathered.evidence)}
        return Draft(row, windows, None)
    assert explainer.prompt is not None, f"explainer {name} has neither a prompt nor a text"
    row["prompt"] = explainer.prompt(gathered.evidence).text()
    return Draft(row, windows, gathered.evidence)


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
        "source_latent": None,
        "prompt": None,
        "reply": None,
        "model": None,
        "planned_tokens": None,
        **dict.fromkeys(TOKENS, 0),
    }


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
