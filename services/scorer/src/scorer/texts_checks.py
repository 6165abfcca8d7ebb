"""What of a scores spec does not fit latents over written texts."""

from collections.abc import Callable, Iterator, Mapping

from dragoman.artifacts import Artifact, InputInfo
from dragoman.errors import Violation

from scorer.core.scorers import METHODS
from scorer.core.scorers.method import TEXTS
from scorer.spec import ScoresSpec

_FIELD = "written_latents_id"
_ALIKE = ("coder_id", "model")


def missing_texts(spec: ScoresSpec) -> Iterator[Violation]:
    """Yields written texts that are needed and not given, or the other way round."""
    takes = TEXTS in METHODS[spec.scorer].needs
    if takes and not spec.written_latents_id:
        said = "give latents of the same coder over tokens that were made with texts_id"
        yield Violation(_FIELD, f"{spec.scorer} looks at written texts; {said}")
    if takes and spec.stop:
        yield Violation("stop", f"{spec.scorer} asks nothing; leave it out")
    if not takes and spec.written_latents_id:
        yield Violation(_FIELD, f"{spec.scorer} looks at no written texts; leave it out, or take generation")


def texts_violations(
    spec: ScoresSpec, inputs: Mapping[str, InputInfo], read: Callable[[str], Artifact]
) -> Iterator[Violation]:
    """Yields everything that is wrong, as far as it can be known before the latents are there."""
    written, latents = inputs["written_latents"], inputs["latents"]
    for name in _ALIKE:
        if written.spec.get(name) != latents.spec.get(name):
            said = f"{written.id} has another {name} than {latents.id}"
            yield Violation(_FIELD, f"{said}; give latents of the same model and coder over the texts")
    if written.manifest is None:
        return
    tokens = read(str(written.manifest.statistics["tokens_id"])).manifest
    texts_id = str(tokens.spec.get("texts_id") or "")
    if not texts_id:
        yield Violation(_FIELD, f"{tokens.id} is of no written texts; give latents over tokens made with texts_id")
        return
    explained = read(texts_id).manifest.spec.get("explanations_id")
    if explained != spec.explanations_id:
        yield Violation(_FIELD, f"{texts_id} was written from {explained}, not from {spec.explanations_id}")
