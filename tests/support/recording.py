"""Writes down how this version speaks and what it stores, for later versions to read: see tests/unit/test_recorded.py.

python -m tests.support.recording    makes tests/unit/recorded/<version>.json, or adds kinds that it lacks
"""

import json
import sys
from pathlib import Path
from typing import Any

from dragoman import __version__
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import FailureClass
from dragoman.jobs import DeadLetter, EventType, Failure, JobEvent, JobProgress, JobRecord, JobState, StageRecord
from dragoman.manifests import manifest_to_json
from dragoman.records import ATTEMPTS, DEAD_LETTER, LEASE, RECEIPT, Attempts, Lease, Receipt, job_to_bytes
from dragoman.rpc import methods
from dragoman.rpc.convert import job_message, spec_dict, spec_message
from dragoman.rpc.wire import event_to_bytes
from dragoman.store import Store, StoreConfig
from dragoman.task_set import TaskSet

from tests.support.example_specs import EXAMPLES
from tests.support.fuzzed_server import all_kinds

RECORDED = Path(__file__).parents[1] / "unit" / "recorded"
ID = "latents-" + "1" * 32

FAILURE = Failure("TASK_CRASHED", "killed by SIGKILL", FailureClass.SYSTEM, "0-1", 2, "Traceback")
JOB = JobRecord(
    ID,
    "latents",
    "activation",
    JobState.RUNNING,
    {"tokens_id": "tokens-" + "1" * 32, "top_windows": 10},
    {"tokens": "tokens-" + "1" * 32},
    ("coder-" + "1" * 32,),
    (StageRecord("encode", 5, TaskSet.of([0, 1, 3])), StageRecord("invert", 2)),
    0,
    FAILURE,
    1,
    2,
    1_700_000_000.5,
    1_700_000_001.0,
    0.0,
    "ana",
)
PART = PartInfo("shard-0.safetensors", f"artifacts/latents/{ID}/shard-0-00.safetensors", 10, "0" * 64, 4, {"first": 0})
PROGRESS = JobProgress("encode", 0, 2, 3, 5, 0.6, 30.0, 50.0, "rows", 1.5, "reading", {"fvu": 0.25})
EVENT = JobEvent(ID, "latents", EventType.PROGRESS, JobState.RUNNING, 1_700_000_002.0, 0, PROGRESS, "0-1", FAILURE, "m")
MANIFEST = Manifest(ID, "latents", 2, JOB.spec, JOB.inputs, (PART,), {"fvu": 0.5}, 1, "2026-01-01T00:00:00+00:00")


def recording() -> dict[str, Any]:
    """Requests of every kind, and one of everything that lies in NATS and the store, as bytes in hex."""
    kinds = all_kinds({}, Store(StoreConfig()))
    requests = [
        {
            "kind": kind,
            "version": kinds[kind].version if kind in kinds else 0,
            "request": _request(kind, spec),
            "spec": _parsed(kinds.get(kind), kind, spec),
        }
        for kind, specs in EXAMPLES.items()
        for spec in specs
    ]
    stored = {
        "job": job_to_bytes(JOB),
        "attempts": ATTEMPTS.dump(Attempts(1, 2, FAILURE)),
        "lease": LEASE.dump(Lease("host-1", 1, 3.0, 5.0, "rows", 1.5, "reading", {"fvu": 0.25})),
        "receipt": RECEIPT.dump(Receipt("0-1", (PART,), 1.5, 1000)),
        "dead_letter": DEAD_LETTER.dump(DeadLetter(ID, "0-1", FAILURE, 1_700_000_003.0)),
        "event": event_to_bytes(EVENT),
        "manifest": manifest_to_json(MANIFEST),
        "answer": job_message(JOB).SerializeToString(),
    }
    return {"version": __version__, "requests": requests, "stored": {name: data.hex() for name, data in stored.items()}}


def submit_of(kind: str) -> methods.Submit:
    """How a kind, or a sweep, is submitted."""
    return methods.SWEEP if kind == "sweep" else methods.SUBMITS[kind]


def _request(kind: str, spec: dict[str, Any]) -> str:
    submit = submit_of(kind)
    return submit.method.request(spec=spec_message(spec, submit.spec), request_id="r-1").SerializeToString().hex()


def _parsed(kind: Any, name: str, spec: dict[str, Any]) -> Any:
    given = spec_dict(spec_message(spec, submit_of(name).spec))
    return given if kind is None else kind.spec.model_validate(given).model_dump(mode="json")


def main() -> int:
    """Writes the file of this version; what is in it stays as it is."""
    path, made = RECORDED / f"{__version__}.json", recording()
    if path.exists():
        before = json.loads(path.read_text())
        known = {one["kind"] for one in before["requests"]}
        before["requests"] += [one for one in made["requests"] if one["kind"] not in known]
        made = before
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(made, indent=1) + "\n")
    sys.stderr.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
