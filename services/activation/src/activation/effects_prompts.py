"""Prompts of the `effects` kind, cut from the token rows that the latents artifact was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from jaxtyping import Int32
from latent_cache import LatentCache, TokenRows

from activation.core.prompt_choice import choose, first_firings, longest_run
from activation.spec import EffectsSpec

_DRAWN_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Tokens of one document, without BOS."""

    latent: int
    number: int
    """From 0 in each latent."""
    row: int
    start: int
    tokens: Int32[np.ndarray, " pos"]
    cached_activation: float | None
    """Of the latents artifact, at the last token: there the model has read all of the row before it."""


class Prompts:
    """Makes the prompts of latents; the same for the same spec, whichever task asks."""

    def __init__(self, spec: EffectsSpec, latents: Artifact, tokens: Artifact) -> None:
        self._spec = spec
        self._cache = LatentCache(latents)
        self._rows = TokenRows(tokens)
        statistics: Any = tokens.manifest.statistics
        self._bos = bool(statistics["has_bos"])
        self.bos_token = int(statistics["bos_token_id"]) if self._bos else None
        """What each prompt is to begin with; None for nothing."""
        self._random: list[tuple[int, int, Int32[np.ndarray, " pos"]]] | None = None

    def of(self, latent: int) -> list[Prompt]:
        """Returns the prompts of a latent; none when it fires nowhere in the split."""
        if self._spec.prompts == "activating":
            return self._activating(latent)
        if self._cache.index.firing_count[latent] == 0:
            return []
        if self._random is None:
            self._random = self._draw()
        return [
            Prompt(latent, number, row, start, tokens, None) for number, (row, start, tokens) in enumerate(self._random)
        ]

    def _activating(self, latent: int) -> list[Prompt]:
        entries = self._cache.entries(latent)
        first_test = self._rows.train_row_count
        wanted = np.ones(len(entries), np.bool_)
        if self._spec.split != "all":
            wanted = (entries.rows < first_test) == (self._spec.split == "train")
        firsts = first_firings(
            entries.rows[wanted],
            entries.positions[wanted],
            entries.activations[wanted],
            int(self._bos),
            self._spec.prompt_tokens,
        )
        seed = derived_seed("prompts", self._spec.seed, self._cache.id, latent)
        picked = choose(firsts, self._spec.prompt_count, seed)
        rows = firsts.rows[picked].astype(np.int64)
        tokens, documents = self._rows.tokens(rows), self._rows.documents(rows)
        prompts: list[Prompt] = []
        for number, i in enumerate(picked.tolist()):
            end = int(firsts.ends[i]) + 1
            start = _document_start(documents[number], int(firsts.starts[i]), end)
            found = tokens[number, start:end]
            prompts.append(Prompt(latent, number, int(rows[number]), start, found, float(firsts.activations[i])))
        return prompts

    def _draw(self) -> list[tuple[int, int, Int32[np.ndarray, " pos"]]]:
        """Draws windows of the split without replacement, each cut to its longest run of one document."""
        length, first = self._spec.prompt_tokens, int(self._bos)
        per_row = max(1, (self._rows.ctx_len - first) // length)
        ranges = _rows_of_split(self._cache.row_ranges, self._rows.train_row_count, self._spec.split)
        rows = np.concatenate([np.arange(low, high) for low, high in ranges]) if ranges else np.empty(0, np.int64)
        seed = derived_seed("random prompts", self._spec.seed, self._cache.id)
        generator = np.random.Generator(np.random.PCG64(seed))
        places = generator.permutation(len(rows) * per_row)
        drawn: list[tuple[int, int, Int32[np.ndarray, " pos"]]] = []
        for at in range(0, len(places), _DRAWN_ROWS):
            some = places[at : at + _DRAWN_ROWS]
            here = rows[some // per_row]
            tokens, documents = self._rows.tokens(here), self._rows.documents(here)
            for i, place in enumerate(some.tolist()):
                start = first + place % per_row * length
                low, high = longest_run(documents[i, start : start + length])
                if high - low > 1:
                    drawn.append((int(here[i]), start + low, tokens[i, start + low : start + high]))
                if len(drawn) == self._spec.prompt_count:
                    return drawn
        return drawn


def _document_start(documents: Int32[np.ndarray, " ctx_len"], start: int, end: int) -> int:
    """Returns where the document of the last token begins, no earlier than `start`."""
    other = np.flatnonzero(documents[start:end] != documents[end - 1])
    return start + (int(other[-1]) + 1 if len(other) else 0)


def _rows_of_split(ranges: Sequence[tuple[int, int]], train_rows: int, split: str) -> list[tuple[int, int]]:
    low, high = {"train": (0, train_rows), "test": (train_rows, 1 << 62), "all": (0, 1 << 62)}[split]
    cut = [(max(first, low), min(end, high)) for first, end in ranges]
    return [(first, end) for first, end in cut if end > first]
