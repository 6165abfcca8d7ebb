"""Simulation token by token: one number a request, the windows of a task side by side.

A request's prompt goes on where the one before it ended, so that an engine with a prefix cache reads each token once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dragoman.llm import Completion, Failure, LLMClient, Sampling, settled

from scorer.core.expectation import expected_digit
from scorer.core.judgement import ANSWERED, Verdict
from scorer.core.prompts_simulation import UNKNOWN, token_line, token_question
from scorer.core.requests import Simulation

_SAMPLING = Sampling(max_tokens=1, temperature=0.0, top_logprobs=20)


@dataclass(slots=True)
class _Window:
    """A window that is being simulated."""

    request: Simulation
    prompt: str
    predicted: list[float] = field(default_factory=list[float])
    outcome: str = ANSWERED
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    @property
    def open(self) -> bool:
        """Whether there is something to be asked."""
        return self.outcome == ANSWERED and len(self.predicted) < len(self.request.tokens)

    def question(self) -> str:
        """The prompt up to the next token's number."""
        return self.prompt + token_question(self.request.tokens[len(self.predicted)])

    def add(self, reply: Completion | Failure) -> None:
        """Takes the next token's number."""
        if isinstance(reply, Failure):
            self.outcome = reply.kind.value
            return
        self.prompt_tokens += reply.usage.prompt
        self.cached_tokens += reply.usage.cached
        self.completion_tokens += reply.usage.completion
        value = expected_digit(reply.top_logprobs)
        if value is None:
            self.outcome = "unparsable"
            return
        told = str(round(value)) if self.request.fed_back else UNKNOWN
        self.prompt += token_line(self.request.tokens[len(self.predicted)], told)
        self.predicted.append(value)

    def verdict(self) -> Verdict:
        """What became of it."""
        predicted = tuple(self.predicted) if self.outcome == ANSWERED else None
        spent = (self.prompt_tokens, self.cached_tokens, self.completion_tokens)
        return Verdict(self.outcome, None, None, None, predicted, *spent)


def stepped(client: LLMClient, requests: Sequence[Simulation]) -> Iterator[tuple[int, Verdict]]:
    """Yields index and the expected strength of each token of a window, as windows are finished."""
    windows = [_Window(request, request.prompt) for request in requests]
    waiting = list(enumerate(windows))
    while waiting:
        asked = [window for _, window in waiting if window.open]
        for place, reply in settled(client, [window.question() for window in asked], _SAMPLING):
            asked[place].add(reply)
        done = [(index, window) for index, window in waiting if not window.open]
        waiting = [(index, window) for index, window in waiting if window.open]
        yield from ((index, window.verdict()) for index, window in done)
