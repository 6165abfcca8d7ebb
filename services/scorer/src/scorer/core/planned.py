"""What an engine would read for a question, before anything is sent. Each prompt is answered with one token."""

from collections.abc import Iterator, Sequence

from scorer.core.prompts_simulation import UNKNOWN, token_line, token_question
from scorer.core.requests import Choice, Contrast, Request, Simulation


def prompts_of(request: Request, echoes: bool) -> Sequence[str]:
    """Returns the prompts that a request takes; none where a language model is not asked.

    echoes: whether the engine tells the log-probabilities of prompts. A number that is fed back is one token, as is the
    sign that stands for it here.
    """
    if isinstance(request, Choice):
        return [request.prompt]
    if isinstance(request, Contrast):
        return [request.prompt + request.text, request.baseline + request.text]
    if isinstance(request, Simulation):
        steps = list(_steps(request))
        return steps if request.fed_back or not echoes else [request.prompt + "".join(map(_line, request.tokens))]
    return []


def _steps(request: Simulation) -> Iterator[str]:
    prompt = request.prompt
    for token in request.tokens:
        yield prompt + token_question(token)
        prompt += _line(token)


def _line(token: str) -> str:
    return token_line(token, UNKNOWN)
