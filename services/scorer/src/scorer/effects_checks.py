"""What of a scores spec does not fit an effects artifact."""

from collections.abc import Iterator, Mapping
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import Violation

from scorer.core.scorers import METHODS, Counts
from scorer.core.scorers.method import EFFECTS
from scorer.spec import ScoresSpec

_RANDOM = "random"


def missing_effects(spec: ScoresSpec) -> Iterator[Violation]:
    """Yields effects that are needed and not given, or the other way round."""
    takes = EFFECTS in METHODS[spec.scorer].needs
    if takes and not spec.effects_id:
        yield Violation("effects_id", f"{spec.scorer} judges steered texts; give effects of the latents, of split test")
    for field in ("effects_id", "kl_target"):
        if not takes and getattr(spec, field):
            able = ", ".join(name for name, method in METHODS.items() if EFFECTS in method.needs)
            yield Violation(field, f"{spec.scorer} judges windows; leave it out, or take one of {able}")


def effects_violations(spec: ScoresSpec, effects: InputInfo) -> Iterator[Violation]:
    """Yields everything that is wrong."""
    made: Mapping[str, Any] = effects.spec
    if made.get("latents_id") != spec.latents_id:
        said = f"{effects.id} measured {made.get('latents_id')}, not {spec.latents_id}"
        yield Violation("effects_id", f"{said}; give effects of the latents that are scored")
    if made.get("split") != "test":
        said = f"{effects.id} has changed texts of split {made.get('split')}; explanations are scored on test documents"
        yield Violation("effects_id", f"{said}: give effects of split test")
    if not made.get("new_tokens"):
        yield Violation("effects_id", f"{effects.id} was made with new_tokens 0 and has no texts; expected 1 or more")
    if METHODS[spec.scorer].rivals and made.get("prompts") != _RANDOM:
        said = f"{effects.id} has prompts of each latent's own, and what follows them gives it away"
        yield Violation("effects_id", f"{said}; expected prompts: random")
    yield from _beside_violations(spec, effects)
    yield from _target_violations(spec, effects.id, made)
    yield from _count_violations(spec, effects.id, made)


def _beside_violations(spec: ScoresSpec, effects: InputInfo) -> Iterator[Violation]:
    """Yields that there are too few latents, of a scorer that sets one's texts beside those of others."""
    chosen: Any = effects.spec.get("selection") or {}
    named = len(chosen.get("latents") or ()) or len(chosen.get("ranks") or ()) or chosen.get("count") or None
    count = named if effects.manifest is None else int(str(effects.manifest.statistics["measured"]))
    needed = 1 + METHODS[spec.scorer].rivals
    if count is not None and count < needed:
        said = f"{effects.id} has texts of {count} latents, and {spec.scorer} needs those of {needed}"
        yield Violation("effects_id", f"{said}; give effects of as many or more")


def _target_violations(spec: ScoresSpec, id_: str, made: Mapping[str, Any]) -> Iterator[Violation]:
    targets = [float(target) for target in made.get("kl_targets") or ()]
    if not targets:
        said = f"{id_} was made without kl_targets: latents can be compared at equal KL only"
        yield Violation("effects_id", f"{said}; give effects with kl_targets")
    elif spec.kl_target is not None and spec.kl_target not in targets:
        listed = ", ".join(f"{target:g}" for target in targets)
        yield Violation("kl_target", f"{spec.kl_target:g} is no target of {id_}; it has {listed}")


def _count_violations(spec: ScoresSpec, id_: str, made: Mapping[str, Any]) -> Iterator[Violation]:
    needed = METHODS[spec.scorer].active_needed(Counts(spec.active_count, {}))
    kept = int(made.get("prompt_count") or 0)
    if needed > kept:
        yield Violation(
            "active_count",
            f"{spec.active_count} needs texts after {needed} prompts, {id_} has {kept}; expected fewer, or give "
            f"effects with prompt_count {needed} or more",
        )
