"""Explanations of another job, each given to another latent than its own."""

from collections.abc import Mapping
from typing import Any, cast

import pyarrow.parquet as pq
from dragoman.artifacts import Artifact

from explainer.core.derangement import deranged
from explainer.tables import EXPLANATIONS

_COLUMNS = ["latent", "explanation", "example_documents"]


class ExchangedExplanations:
    """The explanations of one artifact under a seeded derangement of its explained latents."""

    def __init__(self, explanations: Artifact, seed: int) -> None:
        table = cast(Any, pq).read_table(explanations.download(EXPLANATIONS), columns=_COLUMNS).to_pylist()
        self._rows: Mapping[int, Any] = {int(row["latent"]): row for row in table if row["explanation"]}
        self._partners = deranged({latent: row["explanation"] for latent, row in self._rows.items()}, seed)
        self.id = explanations.id

    def partner(self, latent: int) -> int | None:
        """Returns whose explanation a latent gets; None where it has none of its own to give away in turn."""
        return self._partners.get(latent)

    def explanation(self, latent: int) -> str:
        """Returns a latent's own explanation."""
        return str(self._rows[latent]["explanation"])

    def documents(self, latent: int) -> frozenset[int]:
        """Returns the documents that a latent's own explanation was written from."""
        return frozenset(self._rows[latent]["example_documents"] or ())
