"""Whether two runs make a comparison."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from dragoman.artifacts import Artifact, InputInfo, Manifest
from dragoman.errors import Violation

from scorer.core.scorecard import CONTROL, SIDES, TRAINED
from scorer.scorecard_spec import RunRef, ScorecardSpec

TRAINED_WEIGHTS = "trained"

Infos = Mapping[str, InputInfo]


class Artifacts(Protocol):
    """Where inputs of inputs are read."""

    def artifact(self, artifact_id: str) -> Artifact:
        """Returns a committed artifact. Raises NotFound."""
        ...

    def manifest(self, artifact_id: str) -> Manifest | None:
        """Returns the manifest of a committed artifact, None before it is committed."""
        ...


def roles(spec: ScorecardSpec) -> dict[str, str]:
    """Returns role to artifact id."""
    found: dict[str, str] = {}
    for side in SIDES:
        run = run_of(spec, side)
        found |= {f"{side}.scores.{i}": id_ for i, id_ in enumerate(run.scores_ids)}
        found[f"{side}.explanations"] = run.explanations_id
        if run.evaluation_id:
            found[f"{side}.evaluation"] = run.evaluation_id
    return found


def run_of(spec: ScorecardSpec, side: str) -> RunRef:
    """Returns one side of a spec."""
    return spec.trained if side == TRAINED else spec.control


def weights_of(latents: Manifest) -> str:
    """Returns the weights variant of the model behind a latents artifact."""
    model: Any = latents.spec.get("model") or {}
    return str(model.get("weights") or TRAINED_WEIGHTS)


def baseline_of(latents: Manifest, artifacts: Artifacts) -> str:
    """Returns which baseline the coder of a latents artifact is (frozen_decoder, random); "" where it is none."""
    coder = artifacts.manifest(str(latents.spec.get("coder_id") or ""))
    return "" if coder is None else str(coder.statistics.get("baseline") or "")


def violations(spec: ScorecardSpec, inputs: Infos, artifacts: Artifacts) -> Iterator[Violation]:
    """Yields all that is wrong, as far as it can be known: of an input that is not committed only its spec is."""
    for side in SIDES:
        yield from _of_side(spec, side, inputs)
        yield from _of_lineage(spec, side, inputs, artifacts)
    if spec.trained.explanations_id == spec.control.explanations_id:
        yield Violation(
            "control.explanations_id",
            f"{spec.control.explanations_id} is the trained side's too; a run cannot be its own control",
        )
    yield from _of_scorers(spec, inputs)


def _of_side(spec: ScorecardSpec, side: str, inputs: Infos) -> Iterator[Violation]:
    run = run_of(spec, side)
    for index, id_ in enumerate(run.scores_ids):
        info = inputs[f"{side}.scores.{index}"]
        scored = info.spec.get("explanations_id")
        alone = not scored and info.spec.get("latents_id") == inputs[f"{side}.explanations"].spec.get("latents_id")
        if info.kind == "scores" and scored != run.explanations_id and not alone:
            yield Violation(
                f"{side}.scores_ids[{index}]",
                f"{id_} scores {scored}, not {run.explanations_id}; give scores of {side}.explanations_id",
            )
        if info.spec.get("dry_run"):
            yield Violation(f"{side}.scores_ids[{index}]", f"{id_} is a dry run and has no scores; submit it without")
    twice = [name for name, n in Counter(_by_scorer(spec, side, inputs).values()).items() if n > 1]
    if twice:
        yield Violation(
            f"{side}.scores_ids", f"more than one artifact is of the scorer {twice[0]}; expected one for each scorer"
        )


def _of_scorers(spec: ScorecardSpec, inputs: Infos) -> Iterator[Violation]:
    """Both sides must be asked the same by the same judge, or the difference is not the weights'."""
    trained, control = (_by_scorer(spec, side, inputs) for side in SIDES)
    ours, theirs = sorted(set(trained.values())), sorted(set(control.values()))
    if ours != theirs:
        yield Violation(
            "control.scores_ids",
            f"the trained side is scored by {', '.join(ours)}, the control by {', '.join(theirs)}; expected the same "
            "scorers on both sides",
        )
        return
    for role, scorer in trained.items():
        other = next(r for r, s in control.items() if s == scorer)
        judges = [_judge(inputs[r]) for r in (role, other)]
        if judges[0] != judges[1]:
            yield Violation(
                "control.scores_ids",
                f"{scorer} was judged by {judges[0]!r} on the trained side and by {judges[1]!r} on the control's; "
                "expected one judge, or the comparison is of judges",
            )


def _of_lineage(spec: ScorecardSpec, side: str, inputs: Infos, artifacts: Artifacts) -> Iterator[Violation]:
    run = run_of(spec, side)
    explained = inputs[f"{side}.explanations"]
    latents_id = str(explained.spec.get("latents_id") or "")
    latents = artifacts.manifest(latents_id) if explained.kind == "explanations" and latents_id else None
    if latents is None:
        return
    yield from _of_weights(side, run.explanations_id, latents, baseline_of(latents, artifacts))
    evaluation = inputs.get(f"{side}.evaluation")
    measured = evaluation.spec.get("coder_id") if evaluation else None
    if measured and measured != latents.spec.get("coder_id"):
        yield Violation(
            f"{side}.evaluation_id",
            f"{run.evaluation_id} is of {measured}, but the explained latents are of {latents.spec.get('coder_id')}; "
            "give the evaluation of that coder",
        )


def _of_weights(side: str, explanations_id: str, latents: Manifest, baseline: str) -> Iterator[Violation]:
    weights = weights_of(latents)
    if side == TRAINED and baseline:
        yield Violation(
            "trained.explanations_id",
            f"{explanations_id} explains {latents.id}, whose coder is the baseline {baseline}; expected a trained one "
            "on this side (are the sides exchanged?)",
        )
    if side == TRAINED and weights != TRAINED_WEIGHTS:
        yield Violation(
            "trained.explanations_id",
            f"{explanations_id} explains {latents.id}, whose model runs with {weights} weights; expected "
            f"{TRAINED_WEIGHTS} ones on this side (are the sides exchanged?)",
        )
    if side == CONTROL and weights == TRAINED_WEIGHTS and not baseline:
        yield Violation(
            "control.explanations_id",
            f"{explanations_id} explains {latents.id}, whose model runs with {TRAINED_WEIGHTS} weights; expected "
            "a control, for example weights: rerandomized_incl_emb, or a coder that is frozen_decoder or random",
        )


def _by_scorer(spec: ScorecardSpec, side: str, inputs: Infos) -> dict[str, str]:
    """Role to scorer, of one side."""
    names = [f"{side}.scores.{index}" for index in range(len(run_of(spec, side).scores_ids))]
    return {name: str(inputs[name].spec.get("scorer", "")) for name in names}


def _judge(info: InputInfo) -> str:
    llm: Any = info.spec.get("llm") or {}
    embedder: Any = info.spec.get("embedder") or {}
    return str(llm.get("model") or embedder.get("model") or "")
