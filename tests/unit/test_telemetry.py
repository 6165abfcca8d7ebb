"""Log lines and metrics."""

import asyncio
import json
import logging
import socket
import urllib.request
import warnings
from collections.abc import Iterator

import pytest
from dragoman import redaction
from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.metrics import METRICS, Metrics
from dragoman.telemetry import configure_logging, register_secret, serve_monitoring, task_logging
from dragoman.worker import observe

_LOG = logging.getLogger("dragoman.test")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(redaction, "_SECRETS", set())
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("scorer")
    with task_logging("scores-1", "0-3"):
        _LOG.warning("two\nlines, %d ü", 1)
    _LOG.debug("not shown")
    [line] = _lines(capsys)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING", "service": "scorer", "logger": "dragoman.test", "message": "two\nlines, 1 ü",
        "job_id": "scores-1", "task_id": "0-3",
    }  # fmt: skip


def test_a_record_knows_its_task_across_asyncio_and_threads(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("scorer")

    async def task(number: int) -> None:
        with task_logging(f"job-{number}"):
            await asyncio.sleep(0.01)
            await asyncio.to_thread(_LOG.info, "%d", number)

    async def both() -> None:
        await asyncio.gather(task(1), task(2))

    asyncio.run(both())
    _LOG.info("outside")
    lines = _lines(capsys)
    assert {(line["message"], line.get("job_id")) for line in lines} == {
        ("1", "job-1"), ("2", "job-2"), ("outside", None),
    }  # fmt: skip


@pytest.mark.parametrize("format", ["json", "text"])
def test_secrets_stay_out_of_messages_and_tracebacks(capsys: pytest.CaptureFixture[str], format: str) -> None:
    configure_logging("scorer", "info", format)
    register_secret('pass"wörd')
    register_secret("")
    register_secret("abc")
    try:
        raise ValueError('cannot log in with pass"wörd')
    except ValueError:
        _LOG.exception("abc: %s", {"key": 'pass"wörd'})
    text = capsys.readouterr().err
    assert "ValueError: cannot log in with [secret]" in text
    assert "abc" in text
    assert "wörd" not in text


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("scorer", format="text")
    with task_logging("scores-1", "0-3"):
        _LOG.info("hello")
    assert capsys.readouterr().err.endswith("INFO scorer test: hello [scores-1 0-3]\n")


def test_warnings_are_records_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("scorer")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    [line] = _lines(capsys)
    assert line["logger"] == "py.warnings"


def test_wrong_settings_are_named() -> None:
    with pytest.raises(InvalidSpec, match="DRAGOMAN_LOG_LEVEL: 'loud' is no log level; expected DEBUG"):
        configure_logging("scorer", "loud")
    with pytest.raises(InvalidSpec, match="DRAGOMAN_LOG_FORMAT: 'xml' is no log format; expected json or text"):
        configure_logging("scorer", format="xml")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scrape(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return response.read().decode().splitlines()


def test_metrics_of_a_worker_and_its_children_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, child = Metrics(), Metrics()
    worker.s3_requests.labels("get").inc(2)
    worker.heartbeat_age_seconds.labels("scorer").set(7)
    child.s3_requests.labels("get").inc(3)
    child.llm_requests.labels("answered").inc()
    child.s3_seconds.labels("get").observe(0.07)
    child.heartbeat_age_seconds.labels("scorer").set(100)
    worker.absorb(json.loads(json.dumps(child.drain())))
    assert child.drain() == []
    child.s3_requests.labels("get").inc(10)
    worker.absorb(child.drain())
    port = _free_port()
    stop = serve_monitoring(port, metrics=worker)
    try:
        lines = _scrape(port)
    finally:
        stop()
    assert 'dragoman_s3_requests_total{method="get"} 15.0' in lines
    assert 'dragoman_llm_requests_total{outcome="answered"} 1.0' in lines
    assert 'dragoman_s3_request_seconds_bucket{le="0.05",method="get"} 0.0' in lines
    assert 'dragoman_s3_request_seconds_bucket{le="0.1",method="get"} 1.0' in lines
    assert 'dragoman_s3_request_seconds_count{method="get"} 1.0' in lines
    assert 'dragoman_heartbeat_age_seconds{service="scorer"} 7.0' in lines


def test_no_metric_has_a_label_of_many_values() -> None:
    allowed = {"service", "kind", "stage", "outcome", "state", "method", "code", "type", "unit", "name", "currency"}
    metrics = [m for m in vars(Metrics()).values() if hasattr(m, "_labelnames")]
    assert len(metrics) >= 16
    for metric in metrics:
        assert set(metric._labelnames) <= allowed
        assert metric._name.startswith("dragoman_")


def test_a_taken_metrics_port_is_named() -> None:
    port = _free_port()
    stop = serve_monitoring(port, metrics=Metrics())
    try:
        with pytest.raises(FailedPrecondition, match=rf"metrics cannot be served on 127\.0\.0\.1:{port}"):
            serve_monitoring(port, metrics=Metrics())
    finally:
        stop()


def test_what_stands_for_a_secret_is_not_looked_at_again(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("scorer")
    register_secret("secret")
    register_secret("secret-key-1")
    _LOG.warning("Bearer secret-key-1, and secret")
    assert [line["message"] for line in _lines(capsys)] == ["Bearer [secret], and [secret]"]


def test_failures_are_shown_as_none_before_there_are_any() -> None:
    """`increase` of a counter that begins at 1 is 0: the alert would miss the first dead letter."""
    observe.awaited("nobody", ["words"])
    samples = [sample for family in METRICS.collect() for sample in family.samples]
    shown = {(s.name, s.labels.get("outcome")): s.value for s in samples if s.labels.get("service") == "nobody"}
    for name in ("dragoman_dead_letters_total", "dragoman_tasks_failed_total"):
        assert [shown[name, outcome] for outcome in ("user", "transient", "system")] == [0.0] * 3
    assert shown["dragoman_redeliveries_total", None] == 0.0
