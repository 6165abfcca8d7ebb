"""What needs the log-probabilities of a given text: surprisal, and simulation in one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dragoman.llm import Echo, EchoedToken, Failure, LLMClient, settled_items

from scorer.core.expectation import expected_digit
from scorer.core.judgement import ANSWERED, Verdict
from scorer.core.prompts_simulation import UNKNOWN, token_line, token_question
from scorer.core.requests import Contrast, Simulation

_CANDIDATES = 20


def contrasts(client: LLMClient, requests: Sequence[Contrast]) -> Iterator[tuple[int, Verdict]]:
    """Yields index and how much likelier each text is after its prompt than after its baseline, nats."""
    prompts = [side + request.text for request in requests for side in (request.prompt, request.baseline)]
    found: dict[int, Echo | Failure] = {}
    for place, reply in settled_items(prompts, client.echo_many):
        found[place] = reply
        index = place // 2
        if 2 * index in found and 2 * index + 1 in found:
            yield index, _contrast(requests[index], found.pop(2 * index), found.pop(2 * index + 1))


def simulations(client: LLMClient, requests: Sequence[Simulation]) -> Iterator[tuple[int, Verdict]]:
    """Yields index and the expected strength of each token, from one echoed prompt a window."""
    prompts = [r.prompt + "".join(token_line(text, UNKNOWN) for text in r.tokens) for r in requests]

    def ask(some: Sequence[str]) -> Iterator[tuple[int, Echo | Failure]]:
        return client.echo_many(some, _CANDIDATES)

    for index, reply in settled_items(prompts, ask):
        yield index, _simulation(requests[index], reply)


def _contrast(request: Contrast, own: Echo | Failure, baseline: Echo | Failure) -> Verdict:
    sums: list[float] = []
    for echo, prompt in ((own, request.prompt), (baseline, request.baseline)):
        if isinstance(echo, Failure):
            return Verdict(echo.kind.value)
        sums.append(sum(token.logprob or 0.0 for token in echo.tokens if _ends(token) > len(prompt)))
    return replace(_spent(own, baseline), value=sums[0] - sums[1])


def _simulation(request: Simulation, reply: Echo | Failure) -> Verdict:
    if isinstance(reply, Failure):
        return Verdict(reply.kind.value)
    starts = {token.offset: token for token in reply.tokens}
    at, predicted = len(request.prompt), list[float]()
    for text in request.tokens:
        token = starts.get(at + len(token_question(text)))
        value = expected_digit(token.candidates) if token is not None else None
        if value is None:
            return replace(_spent(reply), outcome="unparsable")
        predicted.append(value)
        at += len(token_line(text, UNKNOWN))
    return replace(_spent(reply), predicted=predicted)


def _ends(token: EchoedToken) -> int:
    return token.offset + len(token.text)


def _spent(*replies: Echo | Failure) -> Verdict:
    usages = [reply.usage for reply in replies if isinstance(reply, Echo)]
    return Verdict(
        ANSWERED,
        prompt_tokens=sum(usage.prompt for usage in usages),
        cached_tokens=sum(usage.cached for usage in usages),
        completion_tokens=sum(usage.completion for usage in usages),
    )
