"""What earlier versions sent and stored is understood: a rolling upgrade has clients, servers and workers of both."""

import json
from pathlib import Path
from typing import Any

import pytest
from dragoman.jobs import JobRecord
from dragoman.manifests import manifest_from_json
from dragoman.records import ATTEMPTS, DEAD_LETTER, LEASE, RECEIPT, job_from_bytes, job_to_bytes
from dragoman.rpc import methods
from dragoman.rpc.convert import job_record, spec_dict
from dragoman.rpc.wire import event_from_bytes
from dragoman.store import Store, StoreConfig

from tests.support import recording

FILES = sorted(recording.RECORDED.glob("*.json"))


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def recorded(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a version wrote down."""
    path: Path = request.param
    return json.loads(path.read_text())


def missing(before: Any, now: Any, path: str = "") -> list[str]:
    """Paths of values that are not what they were; fields that came since are no matter."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [found for key, value in before.items() for found in missing(value, now.get(key), f"{path}.{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [found for number, pair in pairs for found in missing(*pair, f"{path}[{number}]")]
    return [] if before == now else [f"{path}: {before!r} is now {now!r}"]


def test_a_recorded_request_means_what_it_meant(recorded: dict[str, Any]) -> None:
    kinds = recording.all_kinds({}, Store(StoreConfig()))
    for one in recorded["requests"]:
        submit = recording.submit_of(one["kind"])
        request = submit.method.request.FromString(bytes.fromhex(one["request"]))
        given = spec_dict(request.spec)
        kind = kinds.get(one["kind"])
        now = given if kind is None else kind.spec.model_validate(given).model_dump(mode="json")
        # A kind of a higher version may have other defaults; what was said still counts.
        raised = kind is not None and kind.version > one["version"]
        assert missing(given if raised else one["spec"], now) == [], one["kind"]
        assert request.request_id == "r-1"


def test_what_was_stored_is_read(recorded: dict[str, Any]) -> None:
    stored = {name: bytes.fromhex(data) for name, data in recorded["stored"].items()}
    job = job_from_bytes(stored["job"], 7)
    assert (job.id, job.state, job.principal, job.revision) == (recording.ID, "RUNNING", "ana", 7)
    assert [(stage.name, list(stage.done)) for stage in job.stages] == [("encode", [0, 1, 3]), ("invert", [])]
    assert job.failure == recording.FAILURE
    assert ATTEMPTS.load(stored["attempts"]).last == recording.FAILURE
    assert LEASE.load(stored["lease"]).metrics == {"fvu": 0.25}
    assert RECEIPT.load(stored["receipt"]).parts == (recording.PART,)
    assert DEAD_LETTER.load(stored["dead_letter"]).failure == recording.FAILURE
    event = event_from_bytes(stored["event"], 3)
    assert (event.cursor, event.progress) == (3, recording.PROGRESS)
    assert manifest_from_json(stored["manifest"]).parts == (recording.PART,)


def test_what_a_later_version_adds_does_not_stop_an_earlier_one(recorded: dict[str, Any]) -> None:
    """An old client and a new server, and old workers beside new ones: fields that are not known are passed over."""
    stored = {name: bytes.fromhex(data) for name, data in recorded["stored"].items()}
    unknown_field = b"\xfa\x7f\x03new"  # number 2047, length-delimited
    job = job_record(recording.job_message(recording.JOB).FromString(stored["answer"] + unknown_field))
    assert job.id == recording.ID
    for name, codec in (("attempts", ATTEMPTS), ("lease", LEASE), ("receipt", RECEIPT), ("dead_letter", DEAD_LETTER)):
        later = json.dumps({**json.loads(stored[name]), "since_later": {"a": 1}}).encode()
        assert codec.load(later) == codec.load(stored[name])
    later = json.dumps({**json.loads(stored["job"]), "since_later": 1}).encode()
    read: JobRecord = job_from_bytes(later, 1)
    assert read == job_from_bytes(stored["job"], 1)
    assert b"since_later" not in job_to_bytes(read)


def test_every_kind_is_recorded() -> None:
    kinds = {one["kind"] for path in FILES for one in json.loads(path.read_text())["requests"]}
    assert kinds == {*methods.SUBMITS, "sweep"}, "python -m tests.support.recording adds what is missing"
