"""Written texts for a score: a latent's activations on them, from latents over the tokens of a texts artifact."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from dragoman.artifacts import Artifact
from dragoman.errors import UserTaskError
from dragoman.ids import derived_seed
from jaxtyping import Float32
from latent_cache import LatentCache, TokenRows, Window, WindowSource
from latent_cache.quantiles import balanced_order
from latent_cache.render import pieces
from latent_cache.source import sampled_of

from scorer.core.examples import NATURAL, NEUTRAL, WRITTEN
from scorer.core.scorers import Counts, Drawn, Method

_TEXTS = "texts.parquet"
_NO_DOCUMENT = -1


@dataclass(frozen=True, slots=True)
class Written:
    """Written texts and what became of them."""

    fired: Artifact
    """A coder's latents over `tokens`."""
    tokens: Artifact
    """Of `texts`."""
    texts: Artifact

    @classmethod
    def of(cls, fired: Artifact, read: Callable[[str], Artifact]) -> "Written":
        """Finds them by the latents. Raises NotFound where one has been deleted."""
        tokens = read(str(fired.manifest.statistics["tokens_id"]))
        return cls(fired, tokens, read(str(tokens.manifest.spec["texts_id"])))


class WrittenWindows:
    """The written texts of latents as windows, and natural ones beside them."""

    def __init__(self, source: WindowSource, written: Written, seed: int, partners: Mapping[int, int]) -> None:
        """`source`: of the latents that are scored. `partners`: latent to the latent whose texts stand for its own in
        the null. Raises UserTaskError where not all texts were read.
        """
        self._source = source
        self._fired = LatentCache(written.fired)
        self._seed = seed
        self._partners = partners
        self._rows = TokenRows(written.tokens)
        read = sum(end - first for first, end in self._fired.row_ranges)
        if read < self._rows.row_count:
            raise UserTaskError(
                f"{written.fired.id} has read {read} of the {self._rows.row_count} rows of {self._rows.id}; make it "
                "with split all and without max_tokens",
                reason="TEXTS_NOT_READ",
            )
        everything = np.arange(self._rows.row_count)
        self._tokens = self._rows.tokens(everything)
        self._places = _places(self._rows.documents(everything))
        self._documents = _documents(written)

    def draw(
        self, latent: int, method: Method, asked: Counts, null_count: int, rivals: Sequence[int] = ()
    ) -> tuple[Drawn, Counts]:
        """Returns a latent's written, neutral and natural windows, at most as many as asked of each."""
        dense = self._dense(latent)
        own = self._windows(latent, WRITTEN, dense)[: asked.active]
        negatives = {
            NEUTRAL: self._windows(latent, NEUTRAL, dense)[: asked.inactive],
            NATURAL: self._natural(latent, asked.inactive),
        }
        partner = self._partners.get(latent)
        others = {} if partner is None else {partner: self._windows(partner, WRITTEN, dense)[: asked.active]}
        return Drawn(latent, own, np.full(len(own), -1), negatives, others), asked

    def _dense(self, latent: int) -> Float32[np.ndarray, "rows pos"]:
        entries = self._fired.entries(latent)
        dense = np.zeros(self._tokens.shape, np.float32)
        dense[entries.rows, entries.positions] = entries.activations
        return dense

    def _windows(self, latent: int, kind: str, dense: Float32[np.ndarray, "rows pos"]) -> list[Window]:
        """Returns the texts written from a latent's explanation with the activations given; a text that goes on in
        another row is cut."""
        found: list[Window] = []
        for document in self._documents.get((latent, kind), ()):
            if document not in self._places:
                continue
            row, start, end = self._places[document]
            tokens, activations = self._tokens[row, start:end], dense[row, start:end]
            found.append(Window(row, start, _NO_DOCUMENT, "test", tokens, activations))
        return found

    def _natural(self, latent: int, count: int) -> list[Window]:
        """Returns windows of test documents as they come. Where the latent fires in one of the pool, whose strength is
        not kept, one of those that are kept stands for it: all deciles are as likely."""
        cache = self._source.cache
        pool = cache.silent("test")
        seed = derived_seed(self._seed, cache.id, latent, "natural")
        drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(pool))[:count]
        silent = drawn[np.isin(drawn, pool.silent(latent))]
        record = cache.examples(latent)
        kept = sampled_of(record, "test")
        firing = kept[balanced_order(record.deciles[kept], seed)[: len(drawn) - len(silent)]]
        return [record.window(int(i)) for i in firing] + [pool.window(int(i), "test") for i in silent]

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        return pieces(self._rows.tokenizer(), window.tokens)


def _places(documents: np.ndarray) -> dict[int, tuple[int, int, int]]:
    """Returns row, first position and end of each document, of one that is cut its first piece."""
    found: dict[int, tuple[int, int, int]] = {}
    for row, own in enumerate(documents):
        for document in np.unique(own[own >= 0]).tolist():
            where = np.flatnonzero(own == document)
            found.setdefault(document, (row, int(where[0]), int(where[-1]) + 1))
    return found


def _documents(made: Written) -> dict[tuple[int, str], list[int]]:
    """Returns the documents of each latent's texts by kind, in the order in which they were written."""
    written: list[dict[str, Any]] = pq.read_table(made.texts.download(_TEXTS), columns=["latent", "kind"]).to_pylist()
    named = pq.read_table(made.tokens.download("documents.parquet"), columns=["document", "name"]).to_pylist()
    numbered = [(str(row["name"]).rpartition("#")[2], int(row["document"])) for row in named]
    by_number = {int(number): document for number, document in numbered if number.isdigit()}  # not what was cut off
    found: dict[tuple[int, str], list[int]] = {}
    for number, row in enumerate(written):
        if number in by_number:
            found.setdefault((int(row["latent"]), str(row["kind"])), []).append(by_number[number])
    return found
