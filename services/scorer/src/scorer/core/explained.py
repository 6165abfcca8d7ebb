"""The latents to score: what explanations.parquet says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latent_cache import LatentIndex

from scorer.core.null import deranged

COLUMNS = ("latent", "rank", "firing_count", "density", "explanation", "outcome", "example_documents")
RARE_WINDOWS = 20
"""A latent that fires in fewer windows of a split is rare (as in the statistics of latents)."""
_NOT_ATTEMPTED = frozenset({"rare", "dead", "over_budget", "planned"})


@dataclass(frozen=True, slots=True)
class Explained:
    """The attempted latents in the order of their selection, with and without an explanation."""

    rows: Sequence[Mapping[str, Any]]
    explanations: Mapping[int, str]
    """Latent to explanation; latents that got none are not here."""
    partners: Mapping[int, int]
    """Latent to the latent whose explanation its windows are judged with in the shuffled arm."""
    documents: Mapping[int, frozenset[int]]
    """Latent to the documents of the windows that its explanation was written from."""

    @classmethod
    def of(cls, table: Sequence[Mapping[str, Any]], seed: int) -> "Explained":
        """Takes the rows of explanations.parquet."""
        rows = [row for row in table if row["outcome"] not in _NOT_ATTEMPTED]
        explanations = {int(row["latent"]): str(row["explanation"]) for row in rows if row["explanation"] is not None}
        documents = {int(row["latent"]): frozenset(row["example_documents"] or ()) for row in rows}
        return cls(rows, explanations, deranged(explanations, seed), documents)

    @classmethod
    def unlabelled(cls, index: LatentIndex, count: int) -> "Explained":
        """Takes the `count` latents that fire most (0: all) of those that are neither dead nor rare."""
        enough = index.has_windows(RARE_WINDOWS)
        rows: list[Mapping[str, Any]] = [
            {
                "latent": int(latent), "rank": rank, "firing_count": int(index.firing_count[latent]),
                "density": float(index.density[latent]), "explanation": None,
            }
            for rank, latent in enumerate(index.ranking())
            if enough[latent]
        ]  # fmt: skip
        return cls(rows[:count] if count else rows, {}, {}, {int(row["latent"]): frozenset() for row in rows})

    def seen_by(self, latent: int, partner: int | None) -> frozenset[int]:
        """Returns the documents that a latent's windows must not come from: its own explanation's and its partner's."""
        own = self.documents[latent]
        return own if partner is None else own | self.documents[partner]
