"""What became of a question, and the columns in which it is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from scorer.core.examples import PlacedExample

SCORE = "score"
SHUFFLED = "shuffled"
ANSWERED = "answered"
TIMEOUT = "timeout"

EXAMPLES_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("example", pa.int32()),
        ("arm", pa.string()),
        ("type", pa.string()),
        ("label", pa.bool_()),
        ("quantile", pa.int32()),
        ("document", pa.int32()),
        ("row", pa.int32()),
        ("start", pa.int32()),
        ("tokens", pa.list_(pa.string())),
        ("activations", pa.list_(pa.float32())),
        ("marked", pa.list_(pa.bool_())),
        ("explanation_latent", pa.int32()),
        ("outcome", pa.string()),
        ("answer", pa.bool_()),
        ("p_yes", pa.float64()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt for the judge, and what it asks about."""

    placed: PlacedExample
    arm: str
    """SCORE: with the latent's own explanation. SHUFFLED: with another latent's."""
    explanation_latent: int
    pieces: Sequence[str]
    """The text of each of the window's tokens."""
    prompt: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's answer to one question."""

    outcome: str
    """ANSWERED, or why there is no answer: unparsable, refused, timeout."""
    answer: bool | None = None
    p_yes: float | None = None
    """P(yes) / (P(yes) + P(no)) of the answer's first token; None where the engine tells no log-probabilities."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


def example_row(question: Question, verdict: Verdict) -> Mapping[str, object]:
    """Returns one row of EXAMPLES_SCHEMA."""
    example = question.placed.example
    return {
        "latent": example.latent,
        "example": question.placed.index,
        "arm": question.arm,
        "type": example.type,
        "label": example.label,
        "quantile": example.quantile,
        "document": example.window.document,
        "row": example.window.row,
        "start": example.window.start,
        "tokens": list(question.pieces),
        "activations": example.window.activations.tolist(),
        "marked": example.marks.tolist(),
        "explanation_latent": question.explanation_latent,
        "outcome": verdict.outcome,
        "answer": verdict.answer,
        "p_yes": verdict.p_yes,
        "prompt_tokens": verdict.prompt_tokens,
        "cached_tokens": verdict.cached_tokens,
        "completion_tokens": verdict.completion_tokens,
    }
