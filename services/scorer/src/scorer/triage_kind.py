"""The job kind `triage`: score, then label."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary

from scorer.embedder import Embedder
from scorer.scorecard_checks import Artifacts
from scorer.tables import table_bytes
from scorer.triage_checks import roles, violations
from scorer.triage_judging import Triage
from scorer.triage_spec import TriageSpec
from scorer.triage_tables import TEXT, TRIAGE, TRIAGE_SCHEMA, text

Steps = Iterator[Progress | Part | Checkpoint]


class TriageKind:
    """Classes latents by what explains them, one task. Nothing is asked of a language model."""

    name = "triage"
    version = 1
    description = (
        "Classes latents as input, output, cross or obscure by scores that need no label, against their nulls."
    )
    spec = TriageSpec
    input_kinds: Mapping[str, str] = {
        "latents": "latents",
        "scores": "scores",
        "control.scores": "scores",
        "effects": "effects",
        "control.effects": "effects",
        "scrambled": "latents",
        "explanations": "explanations",
    }

    def __init__(self, artifacts: Artifacts, embedder: Embedder | None = None) -> None:
        self._artifacts = artifacts
        self._embedder = embedder

    def inputs(self, spec: TriageSpec) -> Mapping[str, str]:
        """See JobKind.inputs."""
        return roles(spec)

    def resolve(self, spec: TriageSpec) -> TriageSpec:
        """Fills in the embedder's name where effects are looked at. Raises as Embedder.resolve."""
        if not spec.effects_id:
            return spec
        return spec.model_copy(update={"embedder": self._embeds().resolve(spec.embedder)})

    def check(self, spec: TriageSpec, inputs: Mapping[str, InputInfo]) -> None:
        """See JobKind.check."""
        found = list(violations(spec, inputs, self._artifacts))
        if found:
            raise InvalidSpec(found)

    def plan(self, spec: TriageSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """See JobKind.plan."""
        return [Stage("triage", [{}])]

    def run(self, spec: TriageSpec, context: Context) -> Steps:
        """Raises UserTaskError where there is no null, TransientTaskError when the embedder is away."""
        yield Progress(0, 3, "steps", "reading scores")
        triage = Triage(spec, context.inputs, self._artifacts)
        yield Progress(1, 3, "steps", "output effects")
        if spec.effects_id:
            triage.look_at_effects(self._embeds())
        yield Progress(2, 3, "steps", "classes")
        rows = triage.rows()
        found = triage.statistics(rows)
        yield Part(TRIAGE, data=table_bytes(rows, TRIAGE_SCHEMA), row_count=len(rows), metadata={"statistics": found})
        yield Part(TEXT, data=text(found).encode())

    def combine(self, spec: TriageSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """See JobKind.combine."""
        found: Any = next(part for part in parts if part.name == TRIAGE).metadata["statistics"]
        return Summary(found)

    def _embeds(self) -> Embedder:
        if self._embedder is None:
            raise FailedPrecondition("effects are judged by embeddings, and the server has no embedder")
        return self._embedder
