"""The client's retries, failures, limits and cache, against a plain HTTP server that misbehaves as told."""

import asyncio
import json
import socket
import threading
import time

import pytest
from dragoman.errors import TransientTaskError, UserTaskError
from dragoman.llm import (
    Answer,
    ChatPrompt,
    Completion,
    Failure,
    FailureKind,
    LLMClient,
    LLMTimeout,
    LLMUnavailable,
    RetryPolicy,
    Sampling,
    StoreResponseCache,
)
from dragoman.llm.price import Price
from dragoman.llm.shelf import PAGE, Pages
from dragoman.metrics import METRICS
from prometheus_client import Counter

from tests.support.scripted_http import Reply, ScriptedServer, chat_reply, error_reply, scripted

FAST = RetryPolicy(attempts=4, base=0.01, cap=0.02, deadline=10.0)
KEY = "sk-very-secret"


def client(server: ScriptedServer, **options) -> LLMClient:
    options = {"retry": FAST, "api_key": KEY, **options}
    return LLMClient(server.url, "model", **options)


def prompts(count: int) -> list[ChatPrompt]:
    return [ChatPrompt.of(f"prompt {i}") for i in range(count)]


class DictStore:
    """Bytes by key, as an object store keeps them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get_bytes(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def put_bytes(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self.objects.setdefault(key, data) is data


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503])
def test_passing_statuses_are_retried(status: int) -> None:
    def script(n: int, path: str, body: bytes) -> Reply:
        return chat_reply("fine") if n == 2 else error_reply(status, "later")

    with scripted(script) as server, client(server) as llm:
        [(index, reply)] = llm.complete_many(prompts(1))
        assert (index, reply.text) == (0, "fine")
        assert (llm.account.requests, llm.account.retries, llm.account.failures) == (3, 2, 0)


def test_retry_after_is_obeyed() -> None:
    times = []

    def script(n: int, path: str, body: bytes) -> Reply:
        times.append(time.monotonic())
        return chat_reply() if n else error_reply(429, "slow down", retry_after="1")

    with scripted(script) as server, client(server) as llm:
        list(llm.complete_many(prompts(1)))
    assert 1.0 <= times[1] - times[0] < 2.0


def test_a_retry_after_beyond_the_deadline_fails_at_once() -> None:
    with scripted(lambda n, path, body: error_reply(429, "quota", retry_after="3600")) as server, client(server) as llm:
        started = time.monotonic()
        with pytest.raises(LLMUnavailable, match="HTTP 429: quota"):
            list(llm.complete_many(prompts(1)))
        assert time.monotonic() - started < 2.0
        assert len(server.seen) == 1


def test_attempts_are_limited_and_the_last_answer_is_told() -> None:
    with scripted(lambda n, path, body: error_reply(500, f"broken {KEY}")) as server, client(server) as llm:
        with pytest.raises(TransientTaskError, match=r"HTTP 500: broken \[key\]"):
            list(llm.complete_many(prompts(1)))
        assert len(server.seen) == FAST.attempts


def test_a_hung_engine_is_a_timeout() -> None:
    release = threading.Event()

    def hang(n: int, path: str, body: bytes) -> Reply:
        release.wait(10)
        return chat_reply()

    with scripted(hang) as server, client(server, timeout=0.2, retry=RetryPolicy(2, 0.01, 0.01)) as llm:
        with pytest.raises(LLMTimeout, match="no reply in time"):
            list(llm.complete_many(prompts(1)))
        assert len(server.seen) == 2
        release.set()


def test_the_deadline_ends_retries() -> None:
    policy = RetryPolicy(attempts=1000, base=0.05, cap=0.05, deadline=0.5)
    with scripted(lambda n, path, body: error_reply(503, "no")) as server, client(server, retry=policy) as llm:
        started = time.monotonic()
        with pytest.raises(LLMUnavailable):
            list(llm.complete_many(prompts(1)))
        assert time.monotonic() - started < 2.0


def test_nobody_listening_says_where_and_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with LLMClient(url, "m", retry=FAST) as llm, pytest.raises(LLMUnavailable, match=f"{url}.*start it"):
            list(llm.complete_many(prompts(1)))


def test_a_wrong_key_is_the_users_to_mend_and_is_not_printed() -> None:
    with scripted(lambda n, path, body: error_reply(401, f"bad key {KEY}")) as server, client(server) as llm:
        with pytest.raises(UserTaskError, match=r"HTTP 401: bad key \[key\]; check the API key") as caught:
            list(llm.complete_many(prompts(3)))
        assert KEY not in str(caught.value)
        assert len(server.seen) <= 2  # one per slot, no retries


def test_an_unknown_model_names_the_model() -> None:
    with scripted(lambda n, path, body: error_reply(404, "no such model")) as server, client(server) as llm:
        replies = llm.complete_many(prompts(1))
        with pytest.raises(UserTaskError, match="'model'"):
            list(replies)


def test_a_prompt_too_long_fails_alone() -> None:
    def script(n: int, path: str, body: bytes) -> Reply:
        if b"prompt 1" in body:
            return error_reply(400, "request (5001 tokens) exceeds the available context size")
        return chat_reply("fine")

    with scripted(script) as server, client(server) as llm:
        replies = dict(llm.complete_many(prompts(3)))
        assert isinstance(replies[0], Completion)
        assert isinstance(replies[2], Completion)
        assert isinstance(replies[1], Failure)
        assert replies[1].kind is FailureKind.REFUSED
        assert "5001 tokens" in replies[1].message
        assert llm.account.failures == 1


@pytest.mark.parametrize("body", [b"<html>proxy</html>", b"{}", b'{"choices": []}', b'{"choices": [{"text": 3}, 1'])
def test_nonsense_is_unparsable(body: bytes) -> None:
    with scripted(lambda n, path, sent: Reply(body=body)) as server, client(server) as llm:
        [(_, reply)] = llm.complete_many(prompts(1))
        assert isinstance(reply, Failure)
        assert reply.kind is FailureKind.UNPARSABLE


def test_concurrency_is_bounded_and_used() -> None:
    def slow(n: int, path: str, body: bytes) -> Reply:
        time.sleep(0.05)
        return chat_reply()

    with scripted(slow) as server, client(server, max_concurrency=3) as llm:
        assert sorted(index for index, _ in llm.complete_many(prompts(12))) == list(range(12))
        assert server.most_active == 3


def test_replies_come_in_order_of_completion() -> None:
    def script(n: int, path: str, body: bytes) -> Reply:
        time.sleep(0.6 if b"prompt 0" in body else 0.0)
        return chat_reply()

    with scripted(script) as server, client(server) as llm:
        assert [index for index, _ in llm.complete_many(prompts(3))][-1] == 0


def test_leaving_the_loop_drops_the_rest() -> None:
    def slow(n: int, path: str, body: bytes) -> Reply:
        time.sleep(0.1)
        return chat_reply()

    with scripted(slow) as server, client(server) as llm:
        replies = llm.complete_many(prompts(50))
        next(replies)
        replies.close()
        time.sleep(0.3)
        count = len(server.seen)
        time.sleep(0.5)
        assert len(server.seen) == count < 10
        assert len(list(llm.complete_many(prompts(2)))) == 2  # the client is still good


def test_deterministic_replies_are_replayed_and_others_are_not() -> None:
    store = DictStore()
    with scripted(lambda n, path, body: chat_reply(f"reply {n}")) as server:
        with client(server, cache=StoreResponseCache(store)) as llm:
            first = dict(llm.complete_many(prompts(2)))
        with client(server, cache=StoreResponseCache(store)) as llm:
            again = dict(llm.complete_many(prompts(3)))
            assert {i: again[i].text for i in first} == {i: reply.text for i, reply in first.items()}
            assert [again[i].cached for i in range(3)] == [True, True, False]
            assert (llm.account.replayed, llm.account.requests, llm.account.prompt) == (2, 1, 10)
            for _ in range(2):
                list(llm.complete_many(prompts(1), Sampling(temperature=0.7)))
            assert llm.account.requests == 3
            for _ in range(2):
                list(llm.complete_many(prompts(1), Sampling(temperature=0.7, seed=5)))
            assert llm.account.requests == 4
    assert all(key.startswith("llm-cache/") and key.endswith(".json") for key in store.objects)


def test_a_request_in_flight_twice_has_one_reply() -> None:
    """The engine answers each request differently; whoever is second uses the reply that a later run will find."""
    store = DictStore()
    with scripted(lambda n, path, body: chat_reply(f"reply {n}")) as server:
        with client(server, cache=StoreResponseCache(store), max_concurrency=4) as llm:
            together = [reply.text for _, reply in llm.complete_many([ChatPrompt.of("the same")] * 4)]
        with client(server, cache=StoreResponseCache(store)) as llm:
            [(_, later)] = llm.complete_many([ChatPrompt.of("the same")])
    assert set(together) == {later.text}


def test_a_damaged_entry_is_asked_again_and_mended() -> None:
    store = DictStore()
    cache = StoreResponseCache(store)
    with scripted(lambda n, path, body: chat_reply("fresh")) as server, client(server, cache=cache) as llm:
        list(llm.complete_many(prompts(1)))
        [key] = store.objects
        store.objects[key] = b'{"choices": ['
        [(_, reply)] = llm.complete_many(prompts(1))
        assert (reply.text, reply.cached) == ("fresh", False)
        assert json.loads(store.objects[key])["choices"]


def test_one_token_replies_are_kept_in_pages() -> None:
    store, one = DictStore(), Sampling(max_tokens=1)
    cache = StoreResponseCache(store)
    with scripted(lambda n, path, body: chat_reply(f"reply {n}")) as server:
        with client(server, cache=cache, max_concurrency=4) as llm:
            first = dict(llm.complete_many(prompts(2 * PAGE + 3), one))
            assert len(store.objects) == 3
        with client(server, cache=cache) as llm:
            again = dict(llm.complete_many(prompts(2 * PAGE + 3), one))
            assert {i: reply.text for i, reply in again.items()} == {i: reply.text for i, reply in first.items()}
            assert (llm.account.requests, llm.account.replayed) == (0, 2 * PAGE + 3)
            list(llm.complete_many(prompts(PAGE + 1), one))
            assert (llm.account.requests, llm.account.replayed) == (1, 3 * PAGE + 3), "a page of other requests"


def test_a_call_that_is_broken_off_has_kept_what_it_paid_for() -> None:
    store, one = DictStore(), Sampling(max_tokens=1)
    cache = StoreResponseCache(store)
    with scripted(lambda n, path, body: chat_reply(f"reply {n}")) as server:
        with client(server, cache=cache) as llm:
            for number, _ in enumerate(llm.complete_many(prompts(PAGE), one), start=1):
                if number == 10:
                    break
        with client(server, cache=cache) as llm:
            assert sum(reply.cached for _, reply in llm.complete_many(prompts(PAGE), one)) >= 10
            assert len(store.objects) == 2, "what was missing is the page's second piece"
        with client(server, cache=cache) as llm:
            assert all(reply.cached for _, reply in llm.complete_many(prompts(PAGE), one))


def test_a_page_that_two_processes_fill_loses_nothing_and_a_damaged_piece_is_asked_again() -> None:
    store, keys = DictStore(), ["a", "b", "c"]
    cache = StoreResponseCache(store)

    async def fill() -> tuple[bytes | None, ...]:
        mine, theirs = Pages(cache, keys), Pages(cache, keys)
        for shelf, reply in ((mine, b"mine"), (theirs, b"theirs")):
            assert await shelf.get(0) is None
            await shelf.keep(0, reply)
        await theirs.keep(1, b"b")
        mine.close()
        theirs.close()
        later = Pages(cache, keys)
        return tuple([await later.get(place) for place in range(3)])

    assert asyncio.run(fill()) == (b"mine", b"b", None)
    for key in list(store.objects):
        store.objects[key] = b'{"a": '
    assert asyncio.run(Pages(cache, keys).get(0)) is None


def test_how_full_the_engine_is_kept_is_counted() -> None:
    def seconds(metric: Counter) -> float:
        return metric._value.get()  # pyright: ignore[reportPrivateUsage]

    def slow(n: int, path: str, body: bytes) -> Reply:
        time.sleep(0.05)
        return chat_reply()

    before = [seconds(METRICS.llm_allowed_seconds), seconds(METRICS.llm_queued_seconds)]
    with scripted(slow) as server, client(server, max_concurrency=2) as llm:
        list(llm.complete_many(prompts(6)))
    allowed, queued = seconds(METRICS.llm_allowed_seconds) - before[0], seconds(METRICS.llm_queued_seconds) - before[1]
    assert allowed >= 6 * 0.05, "two at once, for three rounds"
    assert queued >= (4 + 2) * 0.05, "four wait for a round, then two"
    assert queued < 6 * allowed


def test_errors_of_the_cache_are_raised_as_they_are() -> None:
    class BrokenStore(DictStore):
        def get_bytes(self, key: str) -> bytes | None:
            raise TransientTaskError("the store is away")

    cache = StoreResponseCache(BrokenStore())
    with scripted(lambda n, path, body: chat_reply()) as server, client(server, cache=cache) as llm:
        replies = llm.complete_many(prompts(5))
        with pytest.raises(TransientTaskError, match="the store is away"):
            list(replies)


def test_answers_sum_over_spellings() -> None:
    candidates = {" Yes": -1.0, "Yes": -2.0, "YES": -3.0, "No": -1.5, "Maybe": -0.9}
    with scripted(lambda n, path, body: chat_reply("Maybe", candidates)) as server, client(server) as llm:
        [(_, answer)] = llm.answer_many(prompts(1), ("Yes", "No"))
        body = json.loads(server.seen[0][1])
    assert isinstance(answer, Answer)
    yes, no = 0.36788 + 0.13534 + 0.04979, 0.22313
    assert answer.share("Yes") == pytest.approx(yes / (yes + no), abs=1e-4)
    assert answer.mass == pytest.approx(yes + no, abs=1e-4)
    assert (body["max_tokens"], body["temperature"], body["top_logprobs"]) == (1, 0.0, 20)


def test_an_answer_that_is_none_is_unparsable_and_counted() -> None:
    with scripted(lambda n, path, body: chat_reply("Hm", {"Hm": -0.1})) as server, client(server) as llm:
        [(_, answer)] = llm.answer_many(prompts(1), ("Yes", "No"))
        assert isinstance(answer, Failure)
        assert "'Hm'" in answer.message
        assert llm.account.failures == 1


def test_tokens_are_counted_and_what_they_cost() -> None:
    spend = METRICS.llm_spend.labels("EUR")._value  # pyright: ignore[reportPrivateUsage]
    before, price = spend.get(), Price(currency="EUR", prompt=2e6, cached=1e6, completion=5e6)
    with scripted(lambda n, path, body: chat_reply()) as server, client(server, price=price) as llm:
        list(llm.complete_many(prompts(3)))
        assert (llm.account.prompt, llm.account.cached, llm.account.completion) == (30, 12, 3)
    assert spend.get() - before == pytest.approx(2 * 18 + 12 + 5 * 3)
