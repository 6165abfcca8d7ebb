"""What of an explanations spec does not fit its inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import Violation
from dragoman.latent_selection import LatentSelection
from latent_cache import KeptWindows

from explainer.core.sampling import top_count
from explainer.selecting import labelled_count
from explainer.spec import ExplanationsSpec

TRAIN = "train"


def input_violations(spec: ExplanationsSpec, inputs: Mapping[str, InputInfo]) -> Iterator[Violation]:
    """Yields everything that is wrong. Raises InvalidSpec for latents of an older layout."""
    latents = inputs["latents"]
    yield from _split_violations(latents)
    yield from _window_violations(spec, KeptWindows.of(latents))
    yield from _neighbour_violations(spec, latents)
    if "effects" in inputs:
        yield from _effects_violations(spec, inputs["effects"])
    given = {text.latent for text in spec.texts}
    if spec.selection.latents and given and not given & set(spec.selection.latents):
        yield Violation("texts", "texts has none of the selected latents; expected one for each")
    if "explanations" in inputs:
        yield from _others_violations(spec, inputs["explanations"])
    yield from _triage_violations(spec, inputs.get("triage"))
    if latents.manifest is not None:
        yield from spec.selection.out_of_range(int(str(latents.manifest.statistics["d_sae"])))


def _split_violations(latents: InputInfo) -> Iterator[Violation]:
    split = latents.spec.get("split", "all")
    if split in {"train", "test"}:
        yield Violation(
            "latents_id",
            f"{latents.id} has read {split} documents only; explanations are written from train and scored on test "
            "documents: give latents of split all",
        )


def _window_violations(spec: ExplanationsSpec, kept: KeptWindows) -> Iterator[Violation]:
    yield from kept.length_violations(spec.window_length)
    if spec.example_count is None or spec.sampling is None:
        return
    strongest = top_count(spec.example_count, spec.sampling)
    yield from kept.top_violations("example_count", strongest)
    yield from kept.sampled_violations("example_count", spec.example_count - strongest)


def _neighbour_violations(spec: ExplanationsSpec, latents: InputInfo) -> Iterator[Violation]:
    if spec.counter_source == "neighbours" and not latents.spec.get("neighbours"):
        yield Violation(
            "counter_source",
            f"{latents.id} was made without neighbours; give latents made with neighbours, or take same_tokens",
        )


def _effects_violations(spec: ExplanationsSpec, effects: InputInfo) -> Iterator[Violation]:
    measured: Mapping[str, Any] = effects.spec
    if measured.get("latents_id") != spec.latents_id:
        yield Violation(
            "effects_id",
            f"{effects.id} measured {measured.get('latents_id')}, not {spec.latents_id}; give effects of the latents "
            "that are explained",
        )
    yield from _unmeasured(spec.selection, effects)
    if spec.output_evidence == "vocab_proj":
        if spec.kl_target is not None:
            yield Violation("kl_target", "vocab_proj turns nothing up; leave kl_target out, or take token_change")
        return
    if measured.get("split") != TRAIN:
        yield Violation(
            "effects_id",
            f"{effects.id} has changed texts of split {measured.get('split')}; explanations are written from train "
            "documents: give effects of split train, or take output_evidence vocab_proj",
        )
    targets: list[float] = [float(target) for target in measured.get("kl_targets") or ()]
    if spec.kl_target is not None and spec.kl_target not in targets:
        listed = ", ".join(f"{target:g}" for target in targets) or "none, for its strengths were given"
        yield Violation("kl_target", f"{spec.kl_target:g} is no target of {effects.id}; it has {listed}")


def _unmeasured(selection: LatentSelection, effects: InputInfo) -> Iterator[Violation]:
    """Latents that are named here and, where effects were measured of named ones too, not there."""
    measured: Any = effects.spec.get("selection") or {}
    for name, values in (("latents", selection.latents), ("ranks", selection.ranks)):
        there = frozenset(measured.get(name) or values)
        missing = [value for value in values if value not in there]
        if missing:
            listed = ", ".join(map(str, missing[:5]))
            said = f"{effects.id} did not measure {name[:-1]} {listed}; leave these out, or give effects of all of them"
            yield Violation(f"selection.{name}", said)


def _others_violations(spec: ExplanationsSpec, others: InputInfo) -> Iterator[Violation]:
    explained: Mapping[str, Any] = others.spec
    if explained.get("latents_id") != spec.latents_id:
        yield Violation(
            "explanations_id",
            f"{others.id} explains {explained.get('latents_id')}, not {spec.latents_id}; give explanations of the same "
            "latents",
        )
    if explained.get("dry_run"):
        yield Violation("explanations_id", f"{others.id} is a dry run and has no explanations; submit it without")
    elif others.manifest is not None and int(str(others.manifest.statistics["parsed"])) < 2:
        found = others.manifest.statistics["parsed"]
        yield Violation("explanations_id", f"{others.id} has {found} explanations; two or more can be exchanged")


def _triage_violations(spec: ExplanationsSpec, triage: InputInfo | None) -> Iterator[Violation]:
    if triage is None:
        for name in ("triage_classes", "triage_tiers"):
            if getattr(spec, name):
                yield Violation(name, f"{name} are those of a triage; give triage_id, or leave it out")
        return
    if spec.selection != LatentSelection():
        yield Violation("selection", f"{triage.id} says which latents; leave selection out, or triage_id")
    if triage.spec.get("latents_id") != spec.latents_id:
        yield Violation(
            "triage_id", f"{triage.id} is of {triage.spec.get('latents_id')}, not of {spec.latents_id}; give one of it"
        )
    if triage.manifest is not None and not labelled_count(spec, triage.manifest):
        by_class: Any = triage.manifest.statistics["by_class"]
        found = ", ".join(f"{count} {name}" for name, count in by_class.items() if count)
        yield Violation("triage_id", f"{triage.id} has no latent to label of these classes and tiers; it has {found}")
