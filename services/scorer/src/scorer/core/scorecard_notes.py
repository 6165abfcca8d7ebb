"""In what, besides the weights, two runs differ: what a reader must know before comparing them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ON_PURPOSE = frozenset(
    {
        "model",
        "scorer",
        "latents_id",
        "explanations_id",
        "effects_id",
        "coder_id",
        "weights",
        "weights_seed",
        "fingerprint",
    }
)
_LONGEST = 120


def differences(what: str, trained: Mapping[str, Any], control: Mapping[str, Any]) -> Iterator[str]:
    """Says which fields of two specs differ, other than those that make one side the control of the other."""
    for name in sorted(trained.keys() | control.keys()):
        if name in _ON_PURPOSE:
            continue
        ours, theirs = trained.get(name), control.get(name)
        if ours != theirs:
            yield f"{what} differ in {name}: {_short(ours)} trained, {_short(theirs)} control."


def overlap(side: str, evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Says when the coder was measured on documents that it was trained on."""
    shared = int(evaluation.get("document_overlap_count", 0))
    if shared:
        yield f"{side}: {shared} of the evaluation's documents were in the coder's training; its FVU is too good."


def of_scores(side: str, scores: Mapping[str, Any]) -> Iterator[str]:
    """Passes on what a scores artifact says of itself."""
    yield from (f"{scores['scorer']}, {side}: {note}." for note in scores.get("notes", ()))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
