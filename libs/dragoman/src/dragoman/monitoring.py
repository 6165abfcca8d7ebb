"""One plaintext HTTP port for whoever watches a process: /metrics, /livez, /readyz. No TLS, no token, no secret.

A port of its own, since a gRPC server with TLS cannot be probed by Kubernetes (platform notes in docs/operations.md).
"""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dragoman.errors import FailedPrecondition
from dragoman.metrics import METRICS, Metrics
from dragoman.vitals import Vitals

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def serve_monitoring(
    port: int, address: str = "127.0.0.1", vitals: Vitals | None = None, metrics: Metrics = METRICS
) -> Callable[[], None]:
    """Serves from a thread; returns what stops it. Raises FailedPrecondition for a taken port."""
    exported = CollectorRegistry()
    exported.register(_Exported(metrics))
    application = _application(make_wsgi_app(exported), vitals or Vitals({}))
    try:
        server = make_server(address, port, application, ThreadingWSGIServer, handler_class=_Silent)
    except OSError as error:
        raise FailedPrecondition(
            f"metrics cannot be served on {address}:{port} ({error.strerror}); choose another port, or leave the "
            "metrics address empty for none",
            reason="PORT_TAKEN",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="monitoring", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _application(metrics: Application, vitals: Vitals) -> Application:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if path == "/livez":
            dead = vitals.dead()
            return _say(start_response, {"process": dead} if dead else {})
        if path == "/readyz":
            return _say(start_response, vitals.unready())
        if path in {"/", "/metrics"}:
            return metrics(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics, /livez or /readyz\n"]

    return answer


def _say(start_response: Any, troubles: Any) -> Iterable[bytes]:
    start_response("503 Service Unavailable" if troubles else "200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"ok": not troubles, "troubles": dict(troubles)}).encode() + b"\n"]


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds."""


class _Exported(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()
