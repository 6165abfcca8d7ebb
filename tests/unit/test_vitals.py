"""Liveness and readiness, over the real HTTP port."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from dragoman.metrics import Metrics
from dragoman.monitoring import serve_monitoring
from dragoman.stack.ports import Ports
from dragoman.vitals import Vitals

Serve = Callable[[Vitals], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves vitals on a free port until the test ends."""
    stops: list[Callable[[], None]] = []

    def start(vitals: Vitals) -> int:
        port = Ports.free().of("nats")
        stops.append(serve_monitoring(port, vitals=vitals, metrics=Metrics()))
        return port

    yield start
    for stop in stops:
        stop()


def _ask(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_process_whose_checks_pass_is_ready_and_alive(serve: Serve) -> None:
    port = serve(Vitals({"store": lambda: ""}))
    assert _ask(port, "/readyz") == (200, {"ok": True, "troubles": {}})
    assert _ask(port, "/livez") == (200, {"ok": True, "troubles": {}})


def test_a_failing_check_makes_it_unready_and_leaves_it_alive(serve: Serve) -> None:
    port = serve(Vitals({"store": lambda: "", "nats": lambda: "no connection"}))
    assert _ask(port, "/readyz") == (503, {"ok": False, "troubles": {"nats": "no connection"}})
    assert _ask(port, "/livez")[0] == 200


def test_a_stopping_process_is_unready_and_alive(serve: Serve) -> None:
    vitals = Vitals({})
    port = serve(vitals)
    vitals.stop()
    assert _ask(port, "/readyz") == (503, {"ok": False, "troubles": {"process": "it is stopping"}})
    assert _ask(port, "/livez")[0] == 200


def test_a_loop_that_stands_still_is_dead_until_it_turns_again(serve: Serve) -> None:
    now = [0.0]
    vitals = Vitals({}, patience=60, clock=lambda: now[0])
    port = serve(vitals)
    now[0] = 61.0
    assert _ask(port, "/livez") == (
        503,
        {"ok": False, "troubles": {"process": "the event loop has not turned for 61 s"}},
    )
    vitals.beat()
    assert _ask(port, "/livez")[0] == 200


def test_an_answer_is_reused_for_some_seconds() -> None:
    now, asked = [0.0], [0]

    def check() -> str:
        asked[0] += 1
        return "away" if asked[0] == 1 else ""

    vitals = Vitals({"store": check}, remember=5, clock=lambda: now[0])
    assert vitals.unready() == {"store": "away"}
    now[0] = 4.9
    assert vitals.unready() == {"store": "away"}
    now[0] = 5.0
    assert vitals.unready() == {}
    assert asked[0] == 2


def test_another_path_is_named(serve: Serve) -> None:
    port = serve(Vitals({}))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
    assert caught.value.code == 404
    assert b"/metrics, /livez or /readyz" in caught.value.read()
