"""Traces with OpenTelemetry: off unless asked for, and then nothing of it is imported.

A submission is a span; its job carries the span's W3C traceparent to NATS, in the headers of tasks and events. What a
worker does for a task is a span below it, what its child process computes one below that, and each request to a
language model one below that. Where spans go is told by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT).
"""

import contextlib
from collections.abc import Generator, Mapping
from typing import Any

from dragoman.errors import FailedPrecondition

HEADER = "traceparent"
"""Of W3C, in gRPC metadata, NATS and HTTP alike."""

_FLUSH_MS = 2000


class _Tracing:
    """What `configure_tracing` made; None while nothing is traced."""

    provider: Any = None
    tracer: Any = None


def configure_tracing(service: str, exporter: Any = None) -> None:
    """Traces from now on; without an exporter to where OTEL_EXPORTER_OTLP_ENDPOINT says, by HTTP.

    Raises FailedPrecondition when OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise FailedPrecondition(
            "DRAGOMAN_TRACES is set and OpenTelemetry is not installed: pip install 'dragoman[otel]'",
            reason="NOT_INSTALLED",
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"dragoman-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    _Tracing.provider, _Tracing.tracer = provider, provider.get_tracer("dragoman")


def on() -> bool:
    """True when spans are made."""
    return _Tracing.tracer is not None


def flush() -> None:
    """Sends what is not sent yet: a worker's child may be killed between two tasks."""
    if on():
        _Tracing.provider.force_flush(_FLUSH_MS)


def end() -> None:
    """Sends what is not sent yet, and stops tracing."""
    if on():
        _Tracing.provider.shutdown()
        _Tracing.provider = _Tracing.tracer = None


@contextlib.contextmanager
def span(
    name: str, kind: str = "INTERNAL", parent: str | None = None, attributes: Mapping[str, str | int] | None = None
) -> Generator[None]:
    """Makes a span of what runs inside; an exception makes it a failed one.

    Of an exception only its type is told: a message may hold what is nobody's business.

    Args:
        name: What is done, one of few words: ids belong into attributes.
        kind: SERVER, CLIENT, PRODUCER, CONSUMER or INTERNAL.
        parent: A traceparent, "" for none; None: the span that is open here.
        attributes: What else to tell.
    """
    if not on():
        yield
        return
    from opentelemetry.trace import SpanKind, StatusCode

    above = None if parent is None else _context(parent)
    with _Tracing.tracer.start_as_current_span(
        name, above, SpanKind[kind], dict(attributes or {}), record_exception=False, set_status_on_exception=False
    ) as made:
        try:
            yield
        except Exception as error:
            made.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def traceparent() -> str:
    """Returns the W3C traceparent of the span that is open here; empty without one."""
    if not on():
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER, "")


def headers(parent: str | None = None) -> dict[str, str]:
    """Returns what a message or request carries to its reader: a traceparent, or nothing."""
    carried = traceparent() if parent is None else parent
    return {HEADER: carried} if carried else {}


def _context(parent: str) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: parent}, Context())
