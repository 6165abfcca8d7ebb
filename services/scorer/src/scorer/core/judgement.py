"""What became of a question, and the columns in which it is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from scorer.core.examples import PlacedExample
from scorer.core.requests import Choice, Contrast, Known, Nearness, Request

SCORE = "score"
SHUFFLED = "shuffled"
ANSWERED = "answered"
TIMEOUT = "timeout"
ANSWERS = ("Yes", "No")

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
        ("value", pa.float64()),
        ("place", pa.int32()),
        ("choice", pa.int32()),
        ("shares", pa.list_(pa.float64())),
        ("predicted", pa.list_(pa.float32())),
        ("shown_rows", pa.list_(pa.int32())),
        ("shown_starts", pa.list_(pa.int32())),
        ("shown_quantiles", pa.list_(pa.int32())),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Question:
    """One request to an engine, and what it asks about."""

    placed: PlacedExample
    arm: str
    """SCORE: with the latent's own explanation. SHUFFLED: with another latent's, or the null of a label-free scorer."""
    explanation_latent: int
    """Whose explanation was shown; -1 where none was."""
    pieces: Sequence[str]
    """The text of each of the window's tokens."""
    request: Request


@dataclass(frozen=True, slots=True)
class Verdict:
    """An engine's answer to one question. What the request does not ask for is None."""

    outcome: str
    """ANSWERED, or why there is no answer: unparsable, refused, timeout."""
    choice: int | None = None
    """Number of the answer that was chosen."""
    shares: Sequence[float] | None = None
    """Probability of each answer among the answers; None where the engine tells no log-probabilities."""
    value: float | None = None
    """Of a Nearness or a Contrast."""
    predicted: Sequence[float] | None = None
    """Of a Simulation: the expected strength of each token."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


def known_verdicts(requests: Sequence[Request]) -> Iterator[tuple[int, Verdict]]:
    """Yields index and verdict of requests of which nothing need be asked."""
    for index, request in enumerate(requests):
        assert isinstance(request, Known), "a scorer of written texts asks nobody"
        yield index, Verdict(ANSWERED, value=request.value)


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
        **_answer(question, verdict),
        "predicted": None if verdict.predicted is None else list(verdict.predicted),
        "shown_rows": [shown.window.row for shown in example.company],
        "shown_starts": [shown.window.start for shown in example.company],
        "shown_quantiles": [shown.quantile for shown in example.company],
        "prompt_tokens": verdict.prompt_tokens,
        "cached_tokens": verdict.cached_tokens,
        "completion_tokens": verdict.completion_tokens,
    }


def _answer(question: Question, verdict: Verdict) -> dict[str, object]:
    """`answer`: yes or no where that was asked, or whether the right one of several was picked. `value` ranks it."""
    example, shares = question.placed.example, verdict.shares
    found: dict[str, object] = {
        "place": example.place, "choice": verdict.choice, "shares": None if shares is None else list(shares),
        "answer": None if verdict.choice is None else verdict.choice == example.place,
        "p_yes": None, "value": None if shares is None else shares[example.place],
    }  # fmt: skip
    if not isinstance(question.request, Choice):
        answer = verdict.value > 0.0 if verdict.value is not None and _has_sign(question.request) else None
        return {**found, "answer": answer, "value": verdict.value}
    return found if example.company else {**found, "p_yes": found["value"]}


def _has_sign(request: Request) -> bool:
    """A difference says yes above 0, and so does an activation; a similarity has no such place."""
    return isinstance(request, Contrast | Known) or (isinstance(request, Nearness) and bool(request.far))
