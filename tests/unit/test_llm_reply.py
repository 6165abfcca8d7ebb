"""Requests, keys and replies as data."""

import json
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from dragoman.llm import ChatPrompt, Completion, RetryPolicy, Sampling, TokenLogprob, request_key
from dragoman.llm.address import api_root, is_loopback
from dragoman.llm.prompt import body_of, path_of
from dragoman.llm.reply import ReplyError, parse_completion
from dragoman.llm.retry import retry_after


def test_the_older_completions_form_is_read_too() -> None:
    choice = {"text": " Yes", "finish_reason": "length", "logprobs": {"top_logprobs": [{" No": -2.0, " Yes": -0.2}]}}
    reply = parse_completion(json.dumps({"choices": [choice]}).encode())
    assert reply.text == " Yes"
    assert reply.top_logprobs == (TokenLogprob(" Yes", -0.2), TokenLogprob(" No", -2.0))
    assert reply.usage.prompt == 0


def test_a_reply_without_text_is_empty_not_wrong() -> None:
    reply = parse_completion(b'{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}')
    assert isinstance(reply, Completion)
    assert reply.text == ""


@pytest.mark.parametrize("content", [b"", b"[]", b'{"choices": [{}]}', b'{"choices": [{"message": 3}]}', b"\xff"])
def test_other_forms_are_errors(content: bytes) -> None:
    with pytest.raises(ReplyError):
        parse_completion(content)


def test_bodies_are_openais() -> None:
    prompt = ChatPrompt.of("c", system="s", turns=[("a", "b")])
    body = body_of(
        "m", prompt, Sampling(max_tokens=1, top_logprobs=20, seed=3, stop=("\n",), json_schema={"type": "x"})
    )
    assert path_of(prompt) == "chat/completions"
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert (body["logprobs"], body["top_logprobs"], body["seed"], body["stop"]) == (True, 20, 3, ["\n"])
    assert body["response_format"]["json_schema"]["schema"] == {"type": "x"}
    assert path_of("text") == "completions"
    assert body_of("m", "text", Sampling(top_logprobs=5))["logprobs"] == 5


def test_keys_depend_on_everything_asked_and_on_nothing_else() -> None:
    def key(model: str = "m", text: str = "t", **options) -> str:
        return request_key("chat/completions", body_of(model, ChatPrompt.of(text), Sampling(**options)))

    assert key() == key()
    others = {key(model="n"), key(text="u"), key(seed=1), key(max_tokens=1), key(top_logprobs=3), key(stop=("x",))}
    assert len(others | {key()}) == 7
    assert request_key("p", {"a": 1, "b": 2}) == request_key("p", {"b": 2, "a": 1})


def test_waits_are_jittered_bounded_and_never_below_what_was_asked() -> None:
    policy, generator = RetryPolicy(base=1.0, cap=8.0), random.Random(1)
    for retry, bound in enumerate([1, 2, 4, 8, 8, 8]):
        waits = [policy.wait(retry, None, generator) for _ in range(200)]
        assert max(waits) <= bound
        assert min(waits) < 0.1 * bound
    assert policy.wait(0, 5.0, generator) == 5.0


def test_retry_after_is_seconds_or_a_date() -> None:
    def read(value: str) -> float | None:
        return retry_after(httpx.Response(429, headers={"retry-after": value}))

    assert read("2.5") == 2.5
    later = read(format_datetime(datetime.now(UTC) + timedelta(seconds=30)))
    assert later is not None
    assert 28 < later < 31
    assert read("soon") is None
    assert retry_after(httpx.Response(429)) is None


def test_addresses() -> None:
    assert api_root("http://h:1") == api_root("http://h:1/v1/") == "http://h:1/v1"
    assert is_loopback("http://127.0.0.1:1/v1")
    assert is_loopback("http://localhost:1")
    assert not is_loopback("https://api.example.com/v1")
