"""What the scorer adds to an engine's time, with 64 requests in flight.

The engine is a server in another process that answers every question after the same delay with canned
log-probabilities, any number at once. With a delay, N questions cannot take less than N x delay / 64 seconds: overhead
is what they take beyond that, as a share of the whole. Without one, all of the time is overhead, and CPU time of a
question is what counts: the prompt, the request, the stream of its answer, the response cache, the verdict. First with
no response cache, then with one that is a dictionary, then with one in a real object store (SeaweedFS), as a worker has
it: that time is the store's as well.

    python benchmarks/scorer_throughput.py [--questions 4096] [--delays-ms 0 50 200] [--no-store]

The ratio is the overhead with a delay of 50 ms (1,280 questions a second) and the last of these caches.
"""

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dragoman.llm import Endpoint, ResponseCache, StoreResponseCache
from dragoman.stack import Ports, Stack
from dragoman.store import Store, StoreConfig
from planted_latents import LENGTH, Latent, Window
from rich.console import Console
from rich.table import Table
from scorer.core.judgement import ANSWERS
from scorer.core.prompts import detection_prefix, question
from scorer.core.requests import Choice
from scorer.llm_judge import LlmJudge
from scorer.spec import LlmRef

GOAL = 0.05
IN_FLIGHT = 64
MODEL = "canned"
HEADLINE_MS = 50


class _Canned(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, no more than the judge's requests need."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if found and len(body) >= length:
            self._data = body[length:]
            answer = _MODELS if head.startswith(b"GET") else _STREAMED if b'"stream":true' in body else _WHOLE
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)


def _reply(content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _canned() -> tuple[bytes, bytes]:
    candidates = {" Yes": -0.5, " No": -1.0} | {f" word{i}": -3.0 - i for i in range(18)}
    logprobs = {"tokens": [" Yes"], "token_logprobs": [-0.5], "top_logprobs": [candidates]}
    choice = {"index": 0, "text": " Yes", "finish_reason": "length", "logprobs": logprobs}
    usage = {"prompt_tokens": 540, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 500}}
    whole = json.dumps({"choices": [choice], "usage": usage}).encode()
    events = [{"choices": [choice]}, {"choices": [], "usage": usage}]
    streamed = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    return _reply("application/json", whole), _reply("text/event-stream", streamed)


_WHOLE, _STREAMED = _canned()
_MODELS = _reply("application/json", json.dumps({"data": [{"id": MODEL}]}).encode())


def _serve(delay: float, told: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Canned(delay), "127.0.0.1", 0, backlog=256)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def canned(delay: float) -> Generator[str]:
    """Runs the engine; yields its address."""
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(delay, its), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{mine.recv()}"
    finally:
        process.terminate()
        process.join()


class Dictionary:
    """A response cache that costs next to nothing."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def get_bytes(self, key: str) -> bytes | None:
        return self._objects.get(key)

    def put_bytes(self, key: str, data: bytes) -> None:
        self._objects[key] = data

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._objects.setdefault(key, data) is data


@contextmanager
def object_store() -> Generator[Store]:
    """Starts NATS and SeaweedFS as `dragoman up` does."""
    with tempfile.TemporaryDirectory() as home, Stack(Path(home), None, Ports.free(), services=()) as stack:
        told = stack.environment()
        names = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
        yield Store(StoreConfig(*(told[f"DRAGOMAN_S3_{name}"] for name in names)))


@dataclass(frozen=True)
class Row:
    """One measurement; seconds of N questions, CPU of this process."""

    cache: str
    delay_ms: int
    questions: int
    wall: float
    cpu: float

    @property
    def overhead(self) -> float:
        """Share of the wall time that the engine did not need."""
        return 1.0 - self.questions * self.delay_ms / 1000 / IN_FLIGHT / self.wall


def questions(count: int, number: int) -> list[Choice]:
    """Returns questions that no earlier call returned."""
    prefix = detection_prefix()
    latents = [Latent(str(i), f"explanation {number} of latent {i}", ()) for i in range(-(-count // 40))]
    found: list[Choice] = []
    for place in range(count):
        window = Window([f" word{(place + i) % 977}" for i in range(LENGTH)], None)
        found.append(Choice(question(prefix, latents[place // 40].explanation, window.text(LENGTH)), ANSWERS))
    return found


def measured(delay_ms: int, count: int, name: str, cache: ResponseCache | None, number: int) -> Row:
    """Judges so many questions."""
    with canned(delay_ms / 1000) as url:
        judge = LlmJudge(Endpoint(url, concurrency=IN_FLIGHT), cache)
        list(judge.verdicts(questions(IN_FLIGHT, -1 - number), LlmRef(model=MODEL)))
        wall, cpu = time.perf_counter(), time.process_time()
        verdicts = list(judge.verdicts(questions(count, number), LlmRef(model=MODEL)))
        row = Row(name, delay_ms, count, time.perf_counter() - wall, time.process_time() - cpu)
    assert len(verdicts) == count
    assert all(verdict.shares for _, verdict in verdicts)
    return row


def show(rows: Sequence[Row]) -> None:
    """Prints the table."""
    table = Table(title=f"{IN_FLIGHT} requests in flight")
    for heading in ("response cache", "engine ms", "questions", "wall s", "a second", "overhead", "CPU us a question"):
        table.add_column(heading, justify="left" if heading == "response cache" else "right")
    for row in rows:
        table.add_row(
            row.cache, str(row.delay_ms), str(row.questions), f"{row.wall:.2f}", f"{row.questions / row.wall:.0f}",
            f"{row.overhead:.1%}", f"{1e6 * row.cpu / row.questions:.0f}",
        )  # fmt: skip
    Console(width=110).print(table)


def main() -> None:
    """Prints a table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=4096)
    parser.add_argument("--delays-ms", type=int, nargs="+", default=[0, HEADLINE_MS, 200])
    parser.add_argument("--no-store", action="store_true", help="without the object store")
    options = parser.parse_args()
    rows: list[Row] = []
    with nullcontext() if options.no_store else object_store() as store:
        caches: dict[str, ResponseCache | None] = {"none": None, "dictionary": StoreResponseCache(Dictionary())}
        if store is not None:
            caches["object store"] = StoreResponseCache(store.objects)
        for delay in options.delays_ms:
            for name, cache in caches.items():
                rows.append(measured(delay, options.questions, name, cache, len(rows)))
    show(rows)
    of_headline = {row.cache: round(row.overhead, 3) for row in rows if row.delay_ms == HEADLINE_MS}
    instant = {row.cache: round(1e6 * row.cpu / row.questions) for row in rows if row.delay_ms == 0}
    worst = list(of_headline.values())[-1] if of_headline else None
    print(
        json.dumps(
            {"name": "scorer_throughput", "ratio": worst, "goal": GOAL, "overhead": of_headline, "cpu_us": instant}
        )
    )


if __name__ == "__main__":
    main()
