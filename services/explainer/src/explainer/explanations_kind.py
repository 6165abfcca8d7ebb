"""The job kind `explanations`: one explanation for each selected latent."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from dragoman.artifacts import Artifact, InputInfo, PartInfo
from dragoman.errors import InvalidSpec, Violation
from dragoman.ids import Json, kind_of
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from dragoman.llm.price import Price, spent

from explainer.checks import input_violations
from explainer.core.explainers import EXPLAINERS
from explainer.counting import budget, count
from explainer.explaining import explain
from explainer.nla_client import NlaClient, NlaEndpoint
from explainer.options import option_violations
from explainer.selecting import select, selection_size
from explainer.spec import ExplanationsSpec
from explainer.stages import BUDGET, COUNT, EXPLAIN, SELECT, WRITE, stage_names
from explainer.summary import statistics_of
from explainer.verbaliser import Verbaliser
from explainer.writer import Writer
from explainer.writing import write

_MOST_TASKS = 10_000
_ROLES = {
    "latents": "latents_id",
    "effects": "effects_id",
    "explanations": "explanations_id",
    "triage": "triage_id",
}
"""Role of an input, which is also its kind, to the spec's field."""


class Artifacts(Protocol):
    """Where artifacts that are inputs of inputs are read."""

    def artifact(self, artifact_id: str, /) -> Artifact:
        """Returns a committed artifact."""
        ...


class ExplanationsKind:
    """Selects latents (one task), counts their prompts where asked to, explains them (some a task), joins tables."""

    name = "explanations"
    version = 3
    description = "One explanation for each selected latent: from windows of train documents, or from effects."
    spec = ExplanationsSpec
    input_kinds: Mapping[str, str] = {role: role for role in _ROLES}

    def __init__(
        self,
        writer: Writer,
        artifacts: Artifacts,
        verbaliser: Verbaliser | None = None,
        price: Price | None = None,
    ) -> None:
        """`verbaliser`: of the explainer `nla`; None: there is none. `price`: what tokens cost, where that is known."""
        self._writer = writer
        self._artifacts = artifacts
        self._verbaliser = verbaliser or NlaClient(NlaEndpoint())
        self._price = price

    def inputs(self, spec: ExplanationsSpec) -> Mapping[str, str]:
        """See JobKind.inputs."""
        given = {role: str(getattr(spec, name)) for role, name in _ROLES.items()}
        return {role: id_ for role, id_ in given.items() if id_}

    def resolve(self, spec: ExplanationsSpec) -> ExplanationsSpec:
        """Fills in the model's and the verbaliser's name and the prompt's version.

        Raises InvalidSpec for options that the explainer does not have or lacks, a model that is not served, a prompt
        version of another release, or an id of the wrong kind; Unavailable for an engine that cannot be reached,
        FailedPrecondition where no verbaliser is configured, or no price for a budget of money. An explainer that asks
        no model needs no engine.
        """
        violations = [*option_violations(spec.explainer, dict(spec)), *_kind_violations(spec), *spec.price_violations()]
        version = EXPLAINERS[spec.explainer].version
        if spec.prompt_version not in {"", version}:
            said = f"this server has prompt {version!r}, not {spec.prompt_version!r}; leave the field out"
            violations.append(Violation("prompt_version", said))
        if violations:
            raise InvalidSpec(violations, reason="WRONG_KIND" if _wrong_kinds(spec) else None)
        found: dict[str, Any] = {"prompt_version": version, "price": spec.priced(self._price)}
        if spec.llm is not None:
            found["llm"] = self._writer.resolve(spec.llm)
        if spec.nla is not None:
            found["nla"] = self._verbaliser.resolve(spec.nla)
        return spec.model_copy(update=found)

    def check(self, spec: ExplanationsSpec, inputs: Mapping[str, InputInfo]) -> None:
        """See JobKind.check."""
        violations = list(input_violations(spec, inputs))
        if violations:
            raise InvalidSpec(violations)

    def plan(self, spec: ExplanationsSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """See JobKind.plan."""
        size_of = selection_size(spec, inputs)
        size = max(spec.latents_per_task, -(-size_of // _MOST_TASKS))
        groups: list[Mapping[str, Json]] = [
            {"first": first, "end": min(first + size, size_of)} for first in range(0, size_of, size)
        ]
        by_latents = {COUNT, EXPLAIN}
        return [Stage(name, groups if name in by_latents else [{}]) for name in stage_names(spec)]

    def run(self, spec: ExplanationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """See JobKind.run."""
        stage = stage_names(spec)[context.task.stage]
        if stage == SELECT:
            yield from select(spec, context)
        elif stage == COUNT:
            yield from count(spec, context, self._tokens(context), self._writer)
        elif stage == BUDGET:
            yield from budget(spec, context)
        elif stage == EXPLAIN:
            yield from explain(spec, context, self._tokens(context), self._writer, self._verbaliser)
        else:
            assert stage == WRITE, f"no stage is named {stage}"
            yield from write(spec, context)

    def _tokens(self, context: Context) -> Artifact:
        return self._artifacts.artifact(str(context.inputs["latents"].manifest.statistics["tokens_id"]))

    def combine(self, spec: ExplanationsSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """See JobKind.combine."""
        statistics, failed_count = statistics_of(spec, parts)
        return Summary(statistics, failed_count, spent(spec.price or self._price, statistics))


def _wrong_kinds(spec: ExplanationsSpec) -> Mapping[str, str]:
    """Field to id of those that are no artifact of the kind. Raises InvalidSpec for what is no id at all."""
    given = {name: (role, str(getattr(spec, name))) for role, name in _ROLES.items()}
    return {name: id_ for name, (role, id_) in given.items() if id_ and kind_of(id_, field=name) != role}


def _kind_violations(spec: ExplanationsSpec) -> Iterator[Violation]:
    role_of = {name: role for role, name in _ROLES.items()}
    for name, id_ in _wrong_kinds(spec).items():
        role = role_of[name]
        article = "an" if role[0] in "aeiou" else "a"
        said = f"{id_} is not {article} {role} artifact; expected an id that begins with {role}-"
        yield Violation(name, said)
