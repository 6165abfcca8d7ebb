"""Streams put together, broken streams, and errors inside them."""

import json
import time

import pytest
from dragoman.llm import Completion, Failure, FailureKind, LLMClient, LLMUnavailable, RetryPolicy

from tests.support.scripted_http import Reply, chat_reply, scripted

FAST = RetryPolicy(attempts=3, base=0.01, cap=0.02, deadline=10.0)


def events(*parts: dict, end: bool = True) -> Reply:
    lines = [f"data: {json.dumps(part)}\n\n" for part in parts] + (["data: [DONE]\n\n"] if end else [])
    return Reply(body="".join([": a comment\n\n", *lines]).encode(), headers={"Content-Type": "text/event-stream"})


def delta(text: str | None, finish: str | None = None, candidates: dict[str, float] | None = None) -> dict:
    choice: dict = {"delta": {"content": text}, "finish_reason": finish}
    if candidates:
        top = [{"token": token, "logprob": logprob} for token, logprob in candidates.items()]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return {"choices": [choice]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


def ask(reply: Reply, prompt: str = "text") -> Completion | Failure:
    with scripted(lambda n, path, body: reply) as server, LLMClient(server.url, "m", retry=FAST) as llm:
        [(_, result)] = llm.complete_many([prompt])
        return result


def test_a_stream_is_one_reply_with_the_first_tokens_candidates() -> None:
    first, second = delta("Ye", candidates={"Ye": -0.1, "No": -3.0}), delta("s", candidates={"s": -0.2})
    reply = ask(events(delta(None), first, second, delta(None, "stop"), USAGE))
    assert isinstance(reply, Completion)
    assert (reply.text, reply.finish_reason, reply.usage.prompt) == ("Yes", "stop", 7)
    assert [candidate.token for candidate in reply.top_logprobs] == ["Ye", "No"]


def test_the_completions_form_streams_too() -> None:
    parts = [
        {"choices": [{"text": text, "finish_reason": finish}]} for text, finish in ((" a", None), (" b", "length"))
    ]
    reply = ask(events(*parts))
    assert isinstance(reply, Completion)
    assert reply.text == " a b"


def test_an_engine_that_does_not_stream_is_understood() -> None:
    reply = ask(chat_reply("plain"))
    assert isinstance(reply, Completion)
    assert reply.text == "plain"


@pytest.mark.parametrize("reply", [events(delta("half"), end=False), events(delta("half")), events()])
def test_a_stream_cut_short_is_asked_again(reply: Reply) -> None:
    def script(n: int, path: str, body: bytes) -> Reply:
        return reply if n < 2 else events(delta("whole", "stop"))

    with scripted(script) as server, LLMClient(server.url, "m", retry=FAST) as llm:
        [(_, result)] = llm.complete_many(["text"])
        assert isinstance(result, Completion)
        assert (result.text, llm.account.retries) == ("whole", 2)


def test_an_event_that_is_not_json_is_not_taken_for_a_reply() -> None:
    broken = Reply(body=b"data: {oops\n\n", headers={"Content-Type": "text/event-stream"})
    with pytest.raises(LLMUnavailable, match="not JSON"):
        ask(broken)


def test_errors_inside_a_stream_count_as_their_status() -> None:
    refused = ask(events({"error": {"code": 400, "message": "exceeds the available context size"}}))
    assert isinstance(refused, Failure)
    assert refused.kind is FailureKind.REFUSED
    with pytest.raises(LLMUnavailable, match="HTTP 500: out of memory"):
        ask(events({"error": {"message": "out of memory"}}))


def test_many_streams_at_once_do_not_mix() -> None:
    def script(n: int, path: str, body: bytes) -> Reply:
        time.sleep(0.01 * (n % 3))
        return events(delta(json.loads(body)["prompt"]), delta(None, "stop"))

    texts = [f"text {i}" for i in range(20)]
    with scripted(script) as server, LLMClient(server.url, "m", max_concurrency=6) as llm:
        replies = dict(llm.complete_many(texts))
        assert [replies[i].text for i in range(20)] == texts
