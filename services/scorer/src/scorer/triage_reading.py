"""From artifacts to what triage judges by: scores and their nulls, filters, costs."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
from dragoman.artifacts import Artifact, Manifest
from latent_cache import LatentIndex
from latent_cache.filters import is_positional, is_unigram_candidate

from scorer.core.latent_filters import LatentFilters
from scorer.tables import EXPLANATIONS, LATENTS
from scorer.triage_spec import TriageSpec

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """One scorer's scores of some latents."""

    scorer: str
    metric: str
    """The one of verdicts."""
    rows: Mapping[int, Row]
    """By latent, in the order of the artifact."""

    @classmethod
    def of(cls, artifact: Artifact) -> "Scored":
        """Reads a scores artifact."""
        said: Any = artifact.manifest.statistics
        metric = str(said["metrics"][0])
        columns = ["latent", "rank", "firing_count", metric, f"null_{metric}"]
        rows = pq.read_table(io.BytesIO(artifact.read(LATENTS)), columns=columns).to_pylist()
        return cls(str(said["scorer"]), metric, {int(row["latent"]): row for row in rows})

    def score(self, latent: int) -> float | None:
        """Returns a latent's score; None where it has none."""
        row = self.rows.get(latent)
        return None if row is None else row[self.metric]

    @property
    def scores(self) -> list[float]:
        """The scores that there are."""
        return [row[self.metric] for row in self.rows.values() if row[self.metric] is not None]

    @property
    def nulls(self) -> list[float]:
        """The same latents' scores in the scorer's own null."""
        return [row[name] for row in self.rows.values() if row[name := f"null_{self.metric}"] is not None]


def scored_by(inputs: Mapping[str, Artifact], role: str) -> dict[str, Scored]:
    """Returns the scores of inputs with this role, by scorer, in the order of the spec."""
    numbered = sorted((int(name.rpartition(".")[2]), a) for name, a in inputs.items() if name.startswith(f"{role}."))
    found = [Scored.of(artifact) for _, artifact in numbered]
    return {one.scorer: one for one in found}


def triaged(scored: Mapping[str, Scored]) -> list[Row]:
    """Returns latent, rank and firing count of all latents that any scorer attempted, by rank."""
    rows = {latent: row for one in scored.values() for latent, row in one.rows.items()}
    return sorted(rows.values(), key=lambda row: (row["rank"], row["latent"]))


def spent_tokens(manifests: Sequence[Manifest]) -> int:
    """Returns the tokens, read and written, of scores jobs."""
    names = ("prompt_tokens", "completion_tokens")
    return sum(int(str(manifest.statistics[name])) for manifest in manifests for name in names)


def label_tokens(explanations: Artifact | None) -> dict[int, int]:
    """Returns what the label of each latent costs or, of a dry run, would cost with a reply of the longest kind."""
    if explanations is None:
        return {}
    said: Any = explanations.manifest.statistics
    columns = ["latent", "planned_tokens", "prompt_tokens", "completion_tokens"]
    rows = pq.read_table(io.BytesIO(explanations.read(EXPLANATIONS)), columns=columns).to_pylist()
    planned = [row for row in rows if row["planned_tokens"] is not None]
    reply = round((said.get("planned_completion_tokens") or 0) / max(1, len(planned)))
    found = {int(row["latent"]): int(row["prompt_tokens"] + row["completion_tokens"]) for row in rows}
    found |= {int(row["latent"]): int(row["planned_tokens"]) + reply for row in planned if not row["prompt_tokens"]}
    return {latent: tokens for latent, tokens in found.items() if tokens}


class Filters:
    """The filters of a dictionary, at the spec's thresholds."""

    def __init__(self, index: LatentIndex, spec: TriageSpec) -> None:
        self._columns = LatentFilters(index)
        self._positional = is_positional(index, spec.positional_information)
        self._candidates = is_unigram_candidate(index)

    def of(self, latent: int) -> dict[str, Any]:
        """Returns the filter columns of one latent."""
        return {**self._columns.of(latent), "is_positional": bool(self._positional[latent])}

    def candidates(self, latents: Sequence[int]) -> list[int]:
        """Returns those of some latents that fire on few different tokens."""
        return [latent for latent in latents if self._candidates[latent]]
