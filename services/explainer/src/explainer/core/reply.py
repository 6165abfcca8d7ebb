"""What a language model answered: an explanation, or why there is none."""

import re
from dataclasses import dataclass
from typing import Literal

TAG = "[EXPLANATION]:"
LONGEST = 600
"""Characters of an explanation that are kept."""

Outcome = Literal["explained", "unparsable", "refused", "timeout"]

# Small models vary the tag: case, bold, missing brackets at the start of a line.
_TAG = re.compile(r"\[\s*explanation\s*\]\s*\**\s*:?|^\W*explanation\s*\**\s*:", re.IGNORECASE | re.MULTILINE)
_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_REFUSAL = re.compile(
    r"\b(i('m| am) (sorry|unable|not able)|i (can't|cannot|can not|won't|will not) |as an ai\b|i must decline)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """How asking ended; `explanation` is None unless it is "explained"."""

    outcome: Outcome
    explanation: str | None
    reason: str


def parse(text: str, finish_reason: str) -> Reply:
    """Reads a reply: the first line after the last tag that has anything after it.

    `finish_reason` is the engine's: "stop", "length" (cut off) or "content_filter".
    """
    answer = _THOUGHTS.sub("", text)
    if finish_reason == "content_filter":
        return Reply("refused", None, "the engine's content filter stopped the reply")
    found = _last_answer(answer)
    if found and not _REFUSAL.match(found):
        reason = "cut off at max_tokens" if finish_reason == "length" else ""
        return Reply("explained", found[:LONGEST], reason)
    if _REFUSAL.search(answer):
        return Reply("refused", None, "the model declined to answer")
    if not answer.strip():
        return Reply("unparsable", None, "the reply is empty")
    said = f"nothing follows {TAG}" if _TAG.search(answer) else f"the reply has no line that begins with {TAG}"
    return Reply("unparsable", None, said + (" and was cut off at max_tokens" if finish_reason == "length" else ""))


def _last_answer(answer: str) -> str:
    pieces = _TAG.split(answer)
    for piece in reversed(pieces[1:]):
        lines = piece.strip().splitlines()
        cleaned = _unquoted(lines[0].strip(" \t*_`")) if lines else ""
        if any(c.isalnum() for c in cleaned):
            return cleaned
    return ""


def _unquoted(text: str) -> str:
    """Drops quotation marks around the whole; those inside belong to it."""
    if len(text) > 1 and text[0] + text[-1] in {'""', "''", "“”"}:
        inside = text[1:-1]
        return inside if text[0] not in inside else text
    return text
