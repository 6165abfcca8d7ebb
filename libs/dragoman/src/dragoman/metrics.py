"""The shell's Prometheus metrics. Labels have few values by design: never a job, a user, a key or a model's text."""

import threading
from collections.abc import Iterable
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

_TASK_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_WAIT_SECONDS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)

Delta: TypeAlias = "tuple[str, dict[str, str], float]"
"""Name of a sample, its labels, and by how much it grew."""


class Metrics:
    """Every metric of the shell. One instance per process: `METRICS`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._drained: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._absorbed: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._tasks()
        self._calls()

    def _tasks(self) -> None:
        task = ["service", "kind", "stage"]
        self.tasks_started = self._counter("tasks_started", "Attempts at tasks.", task)
        self.tasks_done = self._counter("tasks_done", "Tasks that ended well.", task)
        self.tasks_failed = self._counter(
            "tasks_failed", "Attempts that failed; outcome is the failure's class.", [*task, "outcome"]
        )
        self.task_seconds = self._histogram("task_seconds", "Time of one attempt.", task, _TASK_SECONDS)
        self.queue_wait_seconds = self._histogram(
            "queue_wait_seconds", "From a task's enqueueing to its first start.", ["service", "kind"], _WAIT_SECONDS
        )
        self.redeliveries = self._counter("redeliveries", "Tasks delivered more than once.", ["service", "kind"])
        self.dead_letters = self._counter("dead_letters", "Tasks given up.", ["service", "kind", "outcome"])
        self.heartbeat_age_seconds = self._gauge(
            "heartbeat_age_seconds", "Since the running task last gave a sign of life; 0 when idle.", ["service"]
        )
        self.jobs = self._gauge("jobs", "Jobs by state.", ["service", "kind", "state"])
        self._work()

    def _work(self) -> None:
        self.work_units = self._counter(
            "work_units", "What running tasks got through, in the units of their progress.", ["service", "kind", "unit"]
        )
        self.work_value = self._gauge(
            "work_value", "What running tasks last said of themselves: fvu, l0 and so on.", ["service", "kind", "name"]
        )
        self.task_peak_bytes = self._gauge(
            "task_peak_bytes", "Peak memory of the process that did the last task.", ["service", "kind"]
        )
        self.queue_waiting = self._gauge("queue_waiting", "Tasks that no worker has.", ["service"])
        self.queue_running = self._gauge("queue_running", "Tasks that a worker has.", ["service"])
        self.queue_stranded = self._gauge(
            "queue_stranded", "Tasks in the queue that no consumer counts: their deliveries are used up.", ["service"]
        )

    def _calls(self) -> None:
        self.grpc_requests = self._counter("grpc_requests", "Calls answered.", ["method", "code"])
        self.grpc_seconds = self._histogram("grpc_request_seconds", "Time of a call.", ["method", "code"], _SECONDS)
        self.s3_requests = self._counter("s3_requests", "Object store requests answered.", ["method"])
        self.s3_errors = self._counter("s3_errors", "Object store requests that failed.", ["method"])
        self.s3_bytes = self._counter("s3_bytes", "Bytes sent to (put) and from (get) the object store.", ["method"])
        self.s3_seconds = self._histogram("s3_request_seconds", "Time of a request.", ["method"], _SECONDS)
        self.llm_requests = self._counter("llm_requests", "Language model requests.", ["outcome"])
        self.llm_seconds = self._histogram("llm_request_seconds", "Time of a request.", ["outcome"], _SECONDS)
        self.llm_tokens = self._counter("llm_tokens", "Tokens by type: prompt, cached, completion.", ["type"])
        self.llm_spend = self._counter("llm_spend", "What tokens cost, at the operator's prices.", ["currency"])
        self.llm_queued_seconds = self._counter(
            "llm_queued_seconds", "Time that prompts waited for one of the requests allowed; its rate is the queue.", []
        )
        self.llm_allowed_seconds = self._counter(
            "llm_allowed_seconds", "Requests allowed at once while there were prompts, times that time.", []
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"dragoman_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(f"dragoman_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"dragoman_{name}", text, labels, registry=self.registry, buckets=buckets)

    def drain(self) -> list[Delta]:
        """Returns by how much counters and histograms grew since the last call: a child process tells its worker."""
        grown: list[Delta] = []
        with self._lock:
            for sample in _growing(self.registry.collect()):
                delta = sample.value - self._drained.get(_key(sample), 0.0)
                if delta or _key(sample) not in self._drained:  # a histogram has its empty buckets too
                    self._drained[_key(sample)] = sample.value
                    grown.append((sample.name, dict(sample.labels), delta))
        return grown

    def absorb(self, deltas: Iterable[Delta]) -> None:
        """Adds what a child process drained, so that a pod has one endpoint."""
        with self._lock:
            for name, labels, delta in deltas:
                key = (name, tuple(sorted(labels.items())))
                self._absorbed[key] = self._absorbed.get(key, 0.0) + delta

    def collect(self) -> Iterable[Metric]:
        """Yields our own metrics and the children's, added up."""
        with self._lock:
            absorbed = dict(self._absorbed)
        for family in self.registry.collect():
            family.samples = [s._replace(value=s.value + absorbed.pop(_key(s), 0.0)) for s in family.samples]
            for name, labels in [key for key in absorbed if _belongs(key[0], family)]:
                family.samples.append(Sample(name, dict(labels), absorbed.pop((name, labels)), None, None))
            yield family


METRICS = Metrics()


def _growing(families: Iterable[Metric]) -> Iterable[Sample]:
    for family in families:
        if family.type in {"counter", "histogram"}:
            yield from (s for s in family.samples if not s.name.endswith("_created"))


def _key(sample: Any) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))


def _belongs(sample_name: str, family: Metric) -> bool:
    return sample_name.removeprefix(family.name) in {"_total", "_bucket", "_sum", "_count"}
