"""From artifacts to what the report is made of."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import Artifact, Manifest

from scorer.core.charts_curve import Curve
from scorer.core.charts_distribution import ScoredLatent
from scorer.core.report_content import Ancestor, LatentView, card_key
from scorer.core.report_selection import chosen, views
from scorer.core.scorecard import Scores
from scorer.core.scorecard_side import Denominators, Reconstruction, SideCard, Subject
from scorer.scorecard_checks import Artifacts, baseline_of, weights_of

_CURVES = "curves.parquet"
_EXAMPLE_COLUMNS = (
    "latent", "example", "arm", "type", "label", "document", "tokens", "activations", "marked", "outcome", "answer",
    "p_yes",
)  # fmt: skip
_WINDOW_COLUMNS = ("latent", "window", "shown", "document", "split", "max_activation", "tokens", "activations")


@dataclass(frozen=True, slots=True)
class SideInputs:
    """The artifacts of one side."""

    name: str
    explanations: Artifact
    scores: Mapping[str, Artifact]
    """By scorer."""
    evaluation: Artifact | None
    latents: Manifest
    """Of the latents that were explained."""
    baseline: str = ""
    """Which baseline their coder is, where it is one."""

    @classmethod
    def of(cls, name: str, inputs: Mapping[str, Artifact], artifacts: Artifacts) -> "SideInputs":
        """Sorts a side's inputs by role. Raises NotFound when the explained latents are gone."""
        explanations = inputs[f"{name}.explanations"]
        scores = [a for role, a in inputs.items() if role.startswith(f"{name}.scores.")]
        latents = artifacts.artifact(str(explanations.manifest.spec["latents_id"])).manifest
        by_scorer = {str(a.manifest.statistics["scorer"]): a for a in scores}
        return cls(
            name, explanations, by_scorer, inputs.get(f"{name}.evaluation"), latents, baseline_of(latents, artifacts)
        )

    @property
    def model(self) -> Mapping[str, Any]:
        """The ModelRef behind the latents."""
        return _mapping(self.latents.spec.get("model"))

    def card(self) -> SideCard:
        """Returns what is said of the side besides its scores."""
        statistics = self.latents.statistics
        subject = Subject(
            str(self.model.get("source", "")).rstrip("/").rpartition("/")[2],
            weights_of(self.latents) + (f", {self.baseline} coder" if self.baseline else ""),
            str(statistics.get("hookpoint", "")),
            _count(statistics.get("d_sae")),
            _count(statistics.get("k")),
        )
        measured = Reconstruction.of(self.evaluation.manifest.statistics) if self.evaluation else None
        return SideCard(self.name, subject, Denominators.of(self.explanations.manifest.statistics), measured)

    def scored(self, scorer: str) -> Scores:
        """Returns the scores by one scorer."""
        artifact = self.scores[scorer]
        return Scores(_table(artifact, "latents.parquet"), artifact.manifest.statistics)

    def latent_views(self) -> tuple[list[LatentView], int]:
        """Returns the cards of the side, and how many latents were attempted."""
        rows, attempted = chosen(_table(self.explanations, "explanations.parquet"))
        ids = [row["latent"] for row in rows]
        tables = {scorer: self.scored(scorer).latents for scorer in self.scores}
        examples = {
            scorer: _of_latents(a, "examples.parquet", _EXAMPLE_COLUMNS, ids) for scorer, a in self.scores.items()
        }
        windows = _of_latents(self.explanations, "windows.parquet", _WINDOW_COLUMNS, ids)
        return views(self.name, rows, windows, tables, examples), attempted

    def curve(self, artifacts: Artifacts) -> Curve | None:
        """Returns the training curve of the side's coder, if it is there."""
        manifest = artifacts.manifest(str(self.latents.spec.get("coder_id", "")))
        if manifest is None or _CURVES not in [part.name for part in manifest.parts]:
            return None
        table = _table(artifacts.artifact(manifest.id), _CURVES)
        if not table.num_rows:
            return None
        return Curve([float(v) for v in table["token_count"].to_pylist()], table["fvu"].to_pylist())


def points(scores: Scores, metric: str, side: str, shown: Sequence[LatentView]) -> list[ScoredLatent]:
    """Returns the scored latents of a side, with the cards that they have."""
    cards = {view.latent for view in shown if view.side == side}
    pairs = zip(scores.latents["latent"].to_pylist(), scores.latents[metric].to_pylist(), strict=True)
    return [
        ScoredLatent(latent, value, card_key(side, latent) if latent in cards else None)
        for latent, value in pairs
        if value is not None
    ]


def ancestors(inputs: Mapping[str, Artifact], artifacts: Artifacts) -> list[Manifest]:
    """Returns the manifests of inputs, of their inputs and so on, each once, nearest first."""
    found: dict[str, Manifest] = {artifact.id: artifact.manifest for artifact in inputs.values()}
    frontier = list(found.values())
    while frontier:
        ids = sorted({id_ for manifest in frontier for id_ in manifest.inputs.values()} - found.keys())
        frontier = [manifest for manifest in map(artifacts.manifest, ids) if manifest is not None]
        found |= {manifest.id: manifest for manifest in frontier}
    return list(found.values())


def lineage(inputs: Mapping[str, Artifact], manifests: Sequence[Manifest]) -> Iterator[Ancestor]:
    """Yields what the page says of each ancestor."""
    for manifest in manifests:
        named = [role for role, artifact in inputs.items() if artifact.id == manifest.id]
        yield Ancestor(
            manifest.id, manifest.kind, named, sorted(set(manifest.inputs.values())), manifest.semantics_version
        )


def software(manifests: Sequence[Manifest]) -> dict[str, str]:
    """Returns package to version, all versions where artifacts were made with several."""
    versions: dict[str, set[str]] = {}
    for manifest in manifests:
        for name, version in manifest.software.items():
            versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(found)) for name, found in versions.items()}


def _table(artifact: Artifact, name: str) -> pa.Table:
    return pq.read_table(io.BytesIO(artifact.read(name)))


def _of_latents(artifact: Artifact, name: str, columns: Sequence[str], latents: Sequence[int]) -> pa.Table:
    """Reads the rows of some latents, without holding the rest."""
    return pq.read_table(artifact.download(name), columns=list(columns), filters=[("latent", "in", list(latents))])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:
    return int(value or 0)
