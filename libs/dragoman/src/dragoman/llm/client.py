"""The client: many prompts in, replies out as they come, never more in flight than allowed."""

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar, cast

import aiohttp
import httpx

from dragoman import tracing
from dragoman.errors import DragomanError
from dragoman.llm.account import Account
from dragoman.llm.address import api_root, auth_headers, is_loopback
from dragoman.llm.cache import ResponseCache, request_key
from dragoman.llm.echo import Echo, echo_body, parse_echo
from dragoman.llm.flow import Flow
from dragoman.llm.price import Price
from dragoman.llm.prompt import Prompt, Sampling
from dragoman.llm.reply import Answer, Completion, Failure, FailureKind, ReplyError, read_answer
from dragoman.llm.request import EngineReply, Request, completion
from dragoman.llm.retry import LLMTimeout, LLMUnavailable, RetryPolicy, passes, rejection, retry_after, server_message
from dragoman.llm.shelf import Pages, Shelf, Singles
from dragoman.llm.stream import gather
from dragoman.llm.vectors import Embedding, embedding_body, parse_embedding
from dragoman.metrics import METRICS

_CONNECT_SECONDS = 5.0
_ANSWER_CANDIDATES = 20
_REFUSED = {"content_filter"}
_OUTCOMES = ("answered", "rejected", "lost", "replayed")
_STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}

_T = TypeVar("_T")


class LLMClient:
    """Talks to one model of one OpenAI-compatible engine. Use it as a context manager, or `close` it.

    Requests run on an event loop in a thread of the client's own; the iterators below are plain ones, and closing
    one (leaving its loop is enough) drops its outstanding requests, which the engine notices.

    Args:
        base_url: the engine's address, with or without the final `/v1`.
        model: the model's name in requests, and part of the response cache's key.
        max_concurrency: requests in flight at once; a laptop's engine gains nothing above its slots.
        timeout: seconds for one request.
        retry: when and how often to try again.
        cache: replies of deterministic requests are looked up and kept there.
        price: of tokens, for the account.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_concurrency: int = 2,
        timeout: float = 120.0,
        retry: RetryPolicy | None = None,
        cache: ResponseCache | None = None,
        price: Price | None = None,
    ) -> None:
        self.base_url = api_root(base_url)
        self.model = model
        self.account = Account(price=price)
        self._api_key = api_key
        self._concurrency = max_concurrency
        self._timeout = aiohttp.ClientTimeout(sock_connect=min(timeout, _CONNECT_SECONDS), sock_read=timeout)
        self._retry = retry or RetryPolicy()
        self._cache = cache
        self._jitter = random.Random()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-client", daemon=True)
        self._thread.start()
        self._certificates = httpx.create_ssl_context()
        for outcome in _OUTCOMES:  # each begins at 0
            METRICS.llm_requests.labels(outcome)
        self._session: aiohttp.ClientSession | None = None
        """Made by the first request, on the loop. httpx takes several times the CPU time of a short reply."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and end the client's thread; a second call does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def complete_many(
        self, prompts: Sequence[Prompt], sampling: Sampling | None = None
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield (index of the prompt, its reply), in order of completion; requests start in the prompts' order.

        A `Failure` concerns its prompt alone. What would meet every prompt is raised instead:

        Raises:
            UserTaskError: a wrong key, address, model name or kind of request; in the server's words.
            TransientTaskError: no reply within the deadline (LLMTimeout), or no engine (LLMUnavailable).
        """
        requests = [completion(self.model, prompt, sampling or Sampling()) for prompt in prompts]
        return self._stream(requests, lambda reply: cast(Completion, reply))

    def answer_many(
        self, prompts: Sequence[Prompt], answers: Sequence[str], *, seed: int | None = None
    ) -> Iterator[tuple[int, Answer | Failure]]:
        """Ask for one token each and yield (index, log-probabilities of `answers`), in order of completion.

        An answer must be one token of the model's; spaces and case do not matter. Raises as `complete_many`.
        """
        sampling = Sampling(max_tokens=1, temperature=0.0, seed=seed, top_logprobs=_ANSWER_CANDIDATES)
        requests = [completion(self.model, prompt, sampling) for prompt in prompts]
        return self._stream(requests, lambda reply: read_answer(cast(Completion, reply), answers))

    def embed_many(self, texts: Sequence[str]) -> Iterator[tuple[int, Embedding | Failure]]:
        """Yield (index of the text, its vector), in order of completion. Raises as `complete_many`."""
        requests = [Request("embeddings", embedding_body(self.model, text), parse_embedding) for text in texts]
        return self._stream(requests, lambda reply: cast(Embedding, reply))

    def echo_many(self, prompts: Sequence[str], candidates: int = 1) -> Iterator[tuple[int, Echo | Failure]]:
        """Yield (index of the prompt, how likely its tokens are), in order of completion. Raises as `complete_many`.

        candidates: likeliest tokens to tell at each place, 1 to 20. An engine that cannot tell gives a Failure.
        """
        bodies = [echo_body(self.model, prompt, candidates) for prompt in prompts]
        requests = [Request("completions", body, parse_echo) for body in bodies]
        return self._stream(requests, lambda reply: cast(Echo, reply))

    def _stream(
        self, requests: Sequence[Request], read: Callable[[EngineReply], _T | Failure]
    ) -> Iterator[tuple[int, _T | Failure]]:
        results: queue.SimpleQueue[tuple[int, _T | Failure] | None] = queue.SimpleQueue()
        running = asyncio.run_coroutine_threadsafe(self._run(requests, read, results.put), self._loop)
        running.add_done_callback(lambda _: results.put(None))
        try:
            while (result := results.get()) is not None:
                yield result
            running.result()
        finally:
            running.cancel()

    async def _run(
        self,
        requests: Sequence[Request],
        read: Callable[[EngineReply], _T | Failure],
        emit: Callable[[tuple[int, _T | Failure]], None],
    ) -> None:
        waiting = iter(enumerate(requests))
        workers = min(self._concurrency, len(requests))
        flow, shelf = Flow(workers, len(requests)), self._shelf(requests)

        async def work() -> None:
            for index, request in waiting:
                flow.take()
                reply = await self._reply(request, index, shelf)
                result = reply if isinstance(reply, Failure) else read(reply)
                self.account.failures += isinstance(result, Failure)
                emit((index, result))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(work())
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            flow.tell()
            if shelf is not None:
                shelf.close()

    def _shelf(self, requests: Sequence[Request]) -> Shelf | None:
        """The requests of a call are of one sampling: all of them can be replayed, or none."""
        if self._cache is None or not requests or not requests[0].deterministic:
            return None
        keys = [request_key(request.path, request.body) for request in requests]
        return (Pages if requests[0].short else Singles)(self._cache, keys)

    async def _reply(self, request: Request, place: int, shelf: Shelf | None) -> EngineReply | Failure:
        replayed = await self._replayed(request, place, shelf)
        if replayed is not None:
            self.account.add(replayed)
            METRICS.llm_requests.labels("replayed").inc()
            return replayed
        return await self._send_until_answered(request, place, shelf)

    async def _replayed(self, request: Request, place: int, shelf: Shelf | None) -> EngineReply | None:
        stored = await shelf.get(place) if shelf is not None else None
        if stored is None:
            return None
        try:
            return replace(request.parse(stored), cached=True)
        except ReplyError:
            return None  # a damaged entry is a miss, and is written anew

    async def _send_until_answered(self, request: Request, place: int, shelf: Shelf | None) -> EngineReply | Failure:
        end = time.monotonic() + self._retry.deadline
        problem: DragomanError | None = None
        for retry in range(self._retry.attempts):
            started = time.monotonic()
            asked_wait = None
            try:
                response = await self._post(request, end - started)
            except aiohttp.ClientError as error:
                problem = self._transport_problem(error)
            except TimeoutError as error:  # the deadline, which says less than what went wrong before it
                problem = problem or self._transport_problem(error)
            else:
                if not passes(response.status_code):
                    found = self._read(request, response, time.monotonic() - started)
                    if shelf is None or isinstance(found, Failure):
                        return found
                    return await self._kept(shelf, place, request, response.content, found)
                problem = self._passing_problem(response)
                asked_wait = retry_after(response)
            wait = self._retry.wait(retry, asked_wait, self._jitter)
            if retry + 1 == self._retry.attempts or time.monotonic() + wait >= end:
                self.account.failures += 1
                raise problem
            self.account.retries += 1
            await asyncio.sleep(wait)
        raise AssertionError("a retry policy allows at least one attempt")

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._certificates),
                headers=auth_headers(self._api_key),
                timeout=self._timeout,
                trust_env=not is_loopback(self.base_url),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def _post(self, request: Request, seconds: float) -> httpx.Response:
        self.account.requests += 1
        started, outcome = time.monotonic(), "lost"
        url = f"{self.base_url}/{request.path}"
        body = request.body | _STREAMED if request.streamed else request.body
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                with tracing.span(f"llm {request.path}", "CLIENT"):
                    sent = self._http().post(url, json=body, headers=tracing.headers(), allow_redirects=False)
                    async with sent as response:
                        gathered = gather(response.status, response.headers, await response.read())
                        outcome = "answered" if gathered.is_success else "rejected"
                        return gathered
        finally:
            METRICS.llm_requests.labels(outcome).inc()
            METRICS.llm_seconds.labels(outcome).observe(time.monotonic() - started)

    def _read(self, request: Request, response: httpx.Response, latency: float) -> EngineReply | Failure:
        if not response.is_success:
            rejected = rejection(response, self.base_url, self.model)
            if isinstance(rejected, Failure):
                return Failure(rejected.kind, self._redacted(rejected.message))
            self.account.failures += 1
            raise type(rejected)(self._redacted(rejected.message), reason=rejected.reason)
        try:
            parsed = replace(request.parse(response.content), latency=latency)
        except ReplyError as error:
            return Failure(FailureKind.UNPARSABLE, self._redacted(str(error)))
        self.account.add(parsed)
        if isinstance(parsed, Completion) and parsed.finish_reason in _REFUSED:
            return Failure(FailureKind.REFUSED, f"the engine stopped this reply: {parsed.finish_reason}")
        return parsed

    async def _kept(
        self, shelf: Shelf, place: int, request: Request, content: bytes, parsed: EngineReply
    ) -> EngineReply:
        """Returns the reply that counts for a request: an earlier one's, if it was asked before."""
        counts = await shelf.keep(place, content)
        if counts == content:
            return parsed
        try:
            return replace(request.parse(counts), latency=parsed.latency)
        except ReplyError:
            await shelf.mend(place, content)
            return parsed

    def _transport_problem(self, error: Exception) -> DragomanError:
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
            return LLMTimeout(
                f"the engine at {self.base_url} gave no reply in time; it may be overloaded: allow fewer requests at "
                "once or a longer timeout"
            )
        words = self._redacted(str(error)) or type(error).__name__
        return LLMUnavailable(f"no engine can be reached at {self.base_url} ({words}); start it or correct its address")

    def _passing_problem(self, response: httpx.Response) -> DragomanError:
        words = self._redacted(server_message(response))
        return LLMUnavailable(f"the engine at {self.base_url} keeps answering HTTP {response.status_code}: {words}")

    def _redacted(self, text: str) -> str:
        return text.replace(self._api_key, "[key]") if self._api_key else text
