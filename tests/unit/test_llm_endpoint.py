"""Where the language model is, and what becomes of a prompt that times out, against a server that says what it must."""

import json
import logging
import time
from collections.abc import Callable

import pytest
from dragoman.errors import InvalidSpec, Unavailable, UserTaskError
from dragoman.llm import (
    ChatPrompt,
    Completion,
    Endpoint,
    Failure,
    FailureKind,
    LLMClient,
    LLMTimeout,
    RetryPolicy,
    Sampling,
    settled,
)
from dragoman.telemetry import JsonLines

from tests.support.scripted_http import Reply, chat_reply, error_reply, scripted

KEY = "sk-endpoint-4321"
NOBODY = "http://127.0.0.1:9"
SAMPLING = Sampling(max_tokens=4)

Script = Callable[[int, str, bytes], Reply]


def serving(*names: str) -> Script:
    body = json.dumps({"data": [{"id": name} for name in names]}).encode()
    return lambda number, path, _: Reply(body=body) if path == "/v1/models" else error_reply(404, "no such path")


def prompts(*words: str) -> list[ChatPrompt]:
    return [ChatPrompt.of(word) for word in words]


def late_on(word: str, seconds: float = 1.0, times: int = 1000) -> Script:
    """Answers with the prompt's own words; the first so many prompts with this word in them come late."""
    late: list[str] = []

    def script(number: int, path: str, body: bytes) -> Reply:
        asked = json.loads(body)["messages"][-1]["content"]
        if word in asked and len(late) < times:
            late.append(asked)
            time.sleep(seconds)
        return chat_reply(asked)

    return script


def read(environ: dict[str, str], concurrency: int = 4, timeout: float = 300.0) -> Endpoint:
    return Endpoint.from_env(environ, "JUDGE", concurrency, timeout)


def test_an_empty_environment_gives_the_services_defaults() -> None:
    assert read({}, 7, 12.5) == Endpoint("http://127.0.0.1:8090", None, "", 7, 12.5)
    assert read({"DRAGOMAN_LLM_URL": "", "DRAGOMAN_LLM_API_KEY": "", "JUDGE_LLM_TIMEOUT_S": ""}) == read({})


def test_each_setting_is_read_and_those_of_another_service_are_not() -> None:
    shared = {"DRAGOMAN_LLM_URL": "http://llm:1/v1", "DRAGOMAN_LLM_API_KEY": KEY, "DRAGOMAN_LLM_MODEL": "m"}
    own = {"JUDGE_LLM_CONCURRENCY": "64", "JUDGE_LLM_TIMEOUT_S": "0.5"}
    other = {"WRITER_LLM_CONCURRENCY": "9", "WRITER_LLM_TIMEOUT_S": "9"}
    assert read(shared | own | other) == Endpoint("http://llm:1/v1", KEY, "m", 64, 0.5)
    assert (read(other).concurrency, read(other).timeout) == (4, 300.0)


@pytest.mark.parametrize("value", ["many", "0", "-3", "nan", "inf"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [("JUDGE_LLM_CONCURRENCY", "from 1; unset it for the default, 4"), ("JUDGE_LLM_TIMEOUT_S", "0.001; .*, 300$")],
)
def test_a_wrong_number_is_refused_by_name(name: str, expected: str, value: str) -> None:
    with pytest.raises(InvalidSpec, match=f"'{value}' is no number .*{expected}") as caught:
        read({name: value})
    assert caught.value.violations[0].field == name


def test_the_key_is_in_no_representation_and_in_no_log_line() -> None:
    key = "sk-logged-by-mistake"
    record = logging.LogRecord("httpx", logging.INFO, __file__, 1, "sent %s", (f"Bearer {key}",), None)
    assert key in JsonLines("judge").format(record)
    endpoint = read({"DRAGOMAN_LLM_API_KEY": key})
    assert endpoint.api_key == key
    assert key not in repr(endpoint)
    assert "Bearer [secret]" in JsonLines("judge").format(record)


@pytest.mark.parametrize(
    ("wanted", "own", "resolved"), [("", "", "first"), ("", "second", "second"), ("third", "second", "third")]
)
def test_the_spec_comes_before_the_setting_and_the_setting_before_the_first_served(
    wanted: str, own: str, resolved: str
) -> None:
    with scripted(serving("first", "second", "third")) as server:
        assert Endpoint(server.url, model=own).resolve(wanted) == resolved
        assert [path for path, _ in server.seen] == ["/v1/models"]


@pytest.mark.parametrize(("wanted", "own"), [("qwen2.5-codr", ""), ("", "qwen2.5-codr")])
def test_a_model_that_is_not_served_is_refused_with_the_nearest(wanted: str, own: str) -> None:
    with scripted(serving("smollm2", "qwen2.5-coder")) as server, pytest.raises(InvalidSpec) as caught:
        Endpoint(server.url, model=own).resolve(wanted)
    assert (caught.value.violations[0].field, caught.value.reason) == ("llm.model", "UNKNOWN_MODEL")
    assert "does not serve 'qwen2.5-codr'; did you mean 'qwen2.5-coder'" in caught.value.message


def test_an_engine_without_models_resolves_nothing() -> None:
    with scripted(serving()) as server, pytest.raises(InvalidSpec, match="there are none to choose from"):
        Endpoint(server.url).resolve("")


def test_nobody_there_is_unavailable_to_resolve_and_a_sentence_to_the_capability() -> None:
    with pytest.raises(Unavailable, match="no language-model engine answers"):
        Endpoint(NOBODY).resolve("")
    able, words = Endpoint(NOBODY).served()
    assert not able
    assert f"no language-model engine answers at {NOBODY}" in words


def test_the_capability_lists_what_is_served_and_names_a_refused_key() -> None:
    with scripted(serving("first", "second")) as server:
        assert Endpoint(server.url).served() == (True, "served: first, second")
    with scripted(lambda n, path, body: error_reply(401, f"not {KEY}")) as server:
        able, words = Endpoint(server.url, KEY).served()
    assert not able
    assert "set DRAGOMAN_LLM_API_KEY" in words
    assert KEY not in words


def test_the_client_obeys_the_endpoint() -> None:
    def script(number: int, path: str, body: bytes) -> Reply:
        time.sleep(0.1)
        return chat_reply()

    with scripted(script) as server, Endpoint(server.url, KEY, concurrency=3).client("m") as client:
        replies = list(client.complete_many(prompts(*"abcdefghi"), SAMPLING))
        assert len(replies) == 9
        assert server.most_active == 3
        assert {json.loads(body)["model"] for _, body in server.seen} == {"m"}


def test_a_client_gives_up_after_one_and_a_half_timeouts() -> None:
    with scripted(late_on("", 5.0)) as server, Endpoint(server.url, timeout=1.0).client("m") as client:
        started = time.monotonic()
        with pytest.raises(LLMTimeout):
            list(client.complete_many(prompts("a"), SAMPLING))
        assert 0.9 < time.monotonic() - started < 2.5


class Memory:
    """A response cache of this process."""

    def __init__(self) -> None:
        self.replies: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.replies.get(key)

    def keep(self, key: str, reply: bytes) -> bytes:
        return self.replies.setdefault(key, reply)

    def put(self, key: str, reply: bytes) -> None:
        self.replies[key] = reply


def test_the_client_keeps_replies_in_the_cache_that_it_was_given() -> None:
    memory = Memory()
    with scripted(late_on("never")) as server:
        for _ in range(2):
            with Endpoint(server.url).client("m", memory) as client:
                assert len(list(settled(client, prompts("a", "b"), SAMPLING))) == 2
        assert len(server.seen) == len(memory.replies) == 2


def test_a_prompt_that_times_out_alone_is_a_failure_and_every_other_has_its_reply() -> None:
    words = ("a", "b", "hard", "c", "d")
    with scripted(late_on("hard")) as server, Endpoint(server.url, concurrency=2, timeout=0.5).client("m") as client:
        given = list(settled(client, prompts(*words), SAMPLING))
    assert sorted(index for index, _ in given) == [0, 1, 2, 3, 4]
    replies = dict(given)
    failure = replies.pop(2)
    assert isinstance(failure, Failure)
    assert failure == Failure(FailureKind.TIMEOUT, "the engine gave no reply in time, though it answered others")
    assert failure.kind.value == "timeout"
    for index, reply in replies.items():
        assert isinstance(reply, Completion)
        assert reply.text == words[index]


def test_a_prompt_that_is_answered_when_asked_alone_is_no_failure() -> None:
    once = RetryPolicy(attempts=1)
    with (
        scripted(late_on("hard", times=1)) as server,
        LLMClient(server.url, "m", max_concurrency=1, timeout=0.5, retry=once) as client,
    ):
        replies = dict(settled(client, prompts("a", "hard", "b"), SAMPLING))
        asked = [json.loads(body)["messages"][-1]["content"] for _, body in server.seen]
    assert asked == ["a", "hard", "hard", "b"]
    assert {index: reply.text for index, reply in replies.items() if isinstance(reply, Completion)} == {
        0: "a",
        1: "hard",
        2: "b",
    }


def test_where_no_prompt_is_answered_the_timeout_is_raised() -> None:
    with scripted(late_on("")) as server, Endpoint(server.url, concurrency=2, timeout=0.2).client("m") as client:
        with pytest.raises(LLMTimeout, match="no reply in time"):
            list(settled(client, prompts("a", "b", "c"), SAMPLING))
        with pytest.raises(LLMTimeout):
            list(settled(client, prompts("a"), SAMPLING))


def test_what_every_prompt_would_meet_is_raised_though_others_were_answered() -> None:
    def script(number: int, path: str, body: bytes) -> Reply:
        return chat_reply("fine") if number == 0 else error_reply(401, f"{KEY} has expired")

    with scripted(script) as server, Endpoint(server.url, KEY, concurrency=1).client("m") as client:
        replies = settled(client, prompts("a", "b", "c"), SAMPLING)
        assert next(replies)[0] == 0
        # The client knows the key, or it could not leave it out of the engine's words.
        with pytest.raises(UserTaskError, match=r"\[key\] has expired"):
            list(replies)


def test_no_prompts_are_settled_at_once() -> None:
    with Endpoint(NOBODY).client("m") as client:
        assert list(settled(client, [], SAMPLING)) == []
