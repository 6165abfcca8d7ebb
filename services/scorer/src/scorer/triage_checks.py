"""What of a triage spec does not fit its inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import Violation

from scorer.core.scorers import METHODS
from scorer.scorecard_checks import Artifacts
from scorer.triage_spec import TriageSpec

Infos = Mapping[str, InputInfo]


def roles(spec: TriageSpec) -> dict[str, str]:
    """Returns role to artifact id."""
    found = {"latents": spec.latents_id}
    found |= {f"scores.{i}": id_ for i, id_ in enumerate(spec.scores_ids)}
    found |= {f"control.scores.{i}": id_ for i, id_ in enumerate(spec.control_scores_ids)}
    others = {
        "effects": spec.effects_id,
        "control.effects": spec.control_effects_id,
        "scrambled": spec.scrambled_latents_id,
        "explanations": spec.explanations_id,
    }
    return {**found, **{role: id_ for role, id_ in others.items() if id_}}


def violations(spec: TriageSpec, inputs: Infos, artifacts: Artifacts) -> Iterator[Violation]:
    """Yields all that is wrong, as far as it can be known: of an input that is not committed only its spec is."""
    yield from _of_scores(spec, inputs)
    for role, field in (("effects", "effects_id"), ("explanations", "explanations_id")):
        if role in inputs and inputs[role].spec.get("latents_id") != spec.latents_id:
            yield _other_latents(field, inputs[role], spec.latents_id)
    yield from _of_targets(spec, inputs)
    if "scrambled" in inputs:
        yield from _of_scrambled(spec, inputs, artifacts)


def _of_scores(spec: TriageSpec, inputs: Infos) -> Iterator[Violation]:
    own = [inputs[f"scores.{i}"] for i in range(len(spec.scores_ids))]
    control = [inputs[f"control.scores.{i}"] for i in range(len(spec.control_scores_ids))]
    yield from _of_each("scores_ids", own)
    yield from _of_each("control_scores_ids", control)
    for i, info in enumerate(own):
        if info.spec.get("latents_id") != spec.latents_id:
            yield _other_latents(f"scores_ids[{i}]", info, spec.latents_id)
        if not control and not info.spec.get("null_count"):
            yield Violation(f"scores_ids[{i}]", f"{info.id} has no null: give scores with null_count, or a control's")
    ours, theirs = (sorted(str(info.spec.get("scorer")) for info in infos) for infos in (own, control))
    if control and ours != theirs:
        yield Violation(
            "control_scores_ids",
            f"the control is scored by {', '.join(theirs)}, these latents by {', '.join(ours)}; expected the same "
            "scorers",
        )


def _of_each(field: str, infos: Sequence[InputInfo]) -> Iterator[Violation]:
    seen: set[str] = set()
    for i, info in enumerate(infos):
        scorer = str(info.spec.get("scorer"))
        if scorer not in METHODS or not METHODS[scorer].label_free:
            free = ", ".join(name for name, method in METHODS.items() if method.label_free)
            yield Violation(f"{field}[{i}]", f"{info.id} is of {scorer}, which scores labels; expected one of {free}")
        if info.spec.get("dry_run"):
            yield Violation(f"{field}[{i}]", f"{info.id} is a dry run and has no scores; submit it without dry_run")
        if scorer in seen:
            yield Violation(f"{field}[{i}]", f"{info.id} is of {scorer} too; expected one artifact for each scorer")
        seen.add(scorer)


def _of_targets(spec: TriageSpec, inputs: Infos) -> Iterator[Violation]:
    for role, field in (("effects", "kl_target"), ("control.effects", "control_effects_id")):
        if role not in inputs or spec.kl_target is None:
            continue
        measured: Any = inputs[role].spec.get("kl_targets") or ()
        if spec.kl_target not in measured:
            listed = ", ".join(f"{target:g}" for target in measured) or "none, for its strengths were given"
            yield Violation(field, f"{spec.kl_target:g} is no target of {inputs[role].id}; it has {listed}")


def _of_scrambled(spec: TriageSpec, inputs: Infos, artifacts: Artifacts) -> Iterator[Violation]:
    own, scrambled = inputs["latents"], inputs["scrambled"]
    for name in ("coder_id", "model"):
        if own.spec.get(name) != scrambled.spec.get(name):
            yield Violation(
                "scrambled_latents_id",
                f"{scrambled.id} is of another {name.removesuffix('_id')} than {own.id}; expected the same one over "
                "scrambled tokens",
            )
    tokens = artifacts.manifest(str(scrambled.spec.get("tokens_id")))
    if tokens is not None and not tokens.spec.get("scrambled"):
        yield Violation(
            "scrambled_latents_id",
            f"{scrambled.id} is of {tokens.id}, whose tokens stand in order; make tokens with scrambled: true, and "
            "latents of them",
        )


def _other_latents(field: str, info: InputInfo, wanted: str) -> Violation:
    return Violation(
        field, f"{info.id} is of {info.spec.get('latents_id')}, not of {wanted}; give one of these latents"
    )
