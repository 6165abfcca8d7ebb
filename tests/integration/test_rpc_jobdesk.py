"""Client, server and job system together: real NATS, a real object store, a real service process with a worker."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dragoman.client import Client, JobState
from dragoman.errors import AlreadyExists, FailedPrecondition, FailureClass, InvalidSpec, NotFound
from dragoman.folder import FolderArtifact
from dragoman.job.v1 import job_service_pb2
from dragoman.jobs import EventType
from grpc import RpcError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.cluster import Cluster
from tests.support.jobs import Jobs


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One probe service, API and worker in one process."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start_infrastructure()
        made.service("probe", name="probe")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def raw(cluster: Cluster) -> Jobs:
    return Jobs(cluster.channel("probe"), "probe")


@pytest.fixture
def client(cluster: Cluster, raw: Jobs) -> Iterator[Client]:
    """The probe service answers under a name that clients know."""
    with Client({"activation": f"127.0.0.1:{cluster.ports['probe']}"}) as made:
        yield made


def test_a_job_from_submission_to_a_verified_download(client: Client, raw: Jobs, tmp_path: Path) -> None:
    first = raw.submit({"text": "first", "steps": 5, "step_seconds": 0.1})
    second = raw.submit({"text": "second", "input_ids": [first.id]})
    assert client.get(second.id).waiting_for == (first.id,)
    events = [event for event in client.watch([first.id, second.id]) if event.type is not EventType.HEARTBEAT]
    assert [event.cursor for event in events] == sorted({event.cursor for event in events})
    told = [event.type for event in events if event.job_id == second.id]
    assert told[0] is EventType.CREATED
    assert told.count(EventType.COMMITTED) == 1
    assert told.count(EventType.TASK_DONE) == 4
    assert client.wait(second.id).state is JobState.SUCCEEDED
    assert client.get(first.id).progress.fraction == 1.0

    folder = client.download(second.id, tmp_path)
    lines = FolderArtifact(folder).read("all.txt").decode().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (9 + 15, "second 0 0", "first 2 4")
    nodes = client.lineage(second.id)
    assert [(n.artifact_id, n.committed, dict(n.inputs)) for n in nodes] == [
        (second.id, True, {"input.0": first.id}),
        (first.id, True, {}),
    ]


def test_a_watch_resumes_after_its_cursor_without_loss_or_repeat(client: Client, raw: Jobs) -> None:
    job = raw.submit({"text": "cursor", "steps": 4, "step_seconds": 0.05})
    whole = [event for event in client.watch([job.id]) if event.type is not EventType.HEARTBEAT]
    for cut in (0, len(whole) // 2, len(whole) - 1):
        rest = [e for e in client.watch([job.id], cursor=whole[cut].cursor) if e.type is not EventType.HEARTBEAT]
        assert [e.cursor for e in rest] == [e.cursor for e in whole[cut + 1 :]]


def test_lists_page_newest_first(client: Client, raw: Jobs) -> None:
    made = [raw.submit({"text": f"page {n}", "task_count": 1, "steps": 1}).id for n in range(7)]
    listed = [job.id for job in client.list(["probe"], limit=0)]
    assert [id_ for id_ in listed if id_ in made] == made[::-1]
    assert [job.id for job in client.list(limit=3)] == listed[:3]
    assert client.list(["probe"], [JobState.CANCELLING]) == []
    assert client.list(["tokens"]) == []


def test_cancel_and_retry(client: Client, raw: Jobs) -> None:
    job = raw.submit({"text": "long", "steps": 200, "step_seconds": 0.2})
    raw.until_running(job.id)
    assert client.cancel(job.id).state in {JobState.CANCELLING, JobState.CANCELLED}
    assert client.wait(job.id, timeout=10).state is JobState.CANCELLED
    with pytest.raises(NotFound, match=r"its job is CANCELLED; see `dragoman show`"):
        client.manifest(job.id)
    assert not client.retry(job.id).state.terminal
    client.cancel(job.id)
    assert client.wait(job.id, timeout=10).state is JobState.CANCELLED


def test_failures_and_dead_letters_arrive_in_words(client: Client, raw: Jobs) -> None:
    job = raw.submit({"text": "wrong", "fail": "user"})
    ended = client.wait(job.id, timeout=30)
    assert ended.state is JobState.FAILED
    assert ended.failure is not None
    assert ended.failure.failure_class is FailureClass.USER
    assert ended.failure.message == "the probe's input is wrong; give it another"
    letters = client.dead_letters(job.id)
    assert [letter.failure.message for letter in letters] == [ended.failure.message]


def test_bad_requests_come_back_as_typed_errors(client: Client, raw: Jobs) -> None:
    for spec in ({"text": "x", "stepz": 3}, {"steps": 3}, {"text": "unresolvable"}):
        with pytest.raises(RpcError, match="INVALID_ARGUMENT"):
            raw.submit(spec)
    with pytest.raises(RpcError, match="did you mean 'step"):
        raw.submit({"text": "x", "stepz": 3})
    with pytest.raises(NotFound):
        client.get("probe-" + "0" * 32)
    with pytest.raises(InvalidSpec, match="is not an artifact id"):
        list(client.watch(["probe-12"]))
    with pytest.raises(NotFound):
        list(client.watch(["probe-" + "0" * 32]))
    done = raw.submit({"text": "quick", "task_count": 1, "steps": 1})
    client.wait(done.id, timeout=30)
    with pytest.raises(FailedPrecondition):
        client.cancel(done.id)
    with pytest.raises(FailedPrecondition):
        client.retry(done.id)


def test_a_request_id_is_for_one_spec(raw: Jobs) -> None:
    first = raw.submit({"text": "one", "steps": 1}, request_id="r-1")
    assert raw.submit({"text": "one", "steps": 1}, request_id="r-1").id == first.id
    with pytest.raises(RpcError, match=AlreadyExists.reason):
        raw.submit({"text": "two", "steps": 1}, request_id="r-1")


def test_clients_who_submit_at_once_get_one_job(raw: Jobs) -> None:
    ids: list[str] = []

    def submit() -> None:
        ids.append(raw.submit({"text": "at once", "steps": 1}).id)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_what_tasks_logged_is_kept_also_of_a_killed_one(
    client: Client, raw: Jobs, cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    spec = {"text": "logged", "task_count": 2, "steps": 2, "fail": "crash", "fail_while": str(tmp_path / "broken")}
    job = raw.submit(spec)
    next(event for event in client.watch([job.id]) if event.type is EventType.TASK_FAILED)
    (tmp_path / "broken").unlink()
    assert client.wait(job.id, 60).state is JobState.SUCCEEDED
    lines = client.log_lines(job.id)
    told = [(line.task_id, line.attempt, line.level, line.message) for line in lines]
    killed = [words for words in told if words[2] == "ERROR"]
    assert [words[:2] for words in killed] == [("0-0", number) for number in range(1, len(killed) + 1)]
    assert all("TASK_CRASHED" in words[3] and "SIGKILL" in words[3] for words in killed)
    assert told[:2] == [("0-0", 1, "INFO", "step 0"), ("0-0", 1, "INFO", "step 1")]
    assert told[-3:] == [("0-0", len(killed) + 1, "INFO", "step 1"), *(("0-1", 1, "INFO", f"step {n}") for n in (0, 1))]
    assert [line for line in lines if line.task_id == "0-1"] == client.log_lines(job.id, "0-1")
    request, paged = job_service_pb2.ListLogLinesRequest(job_id=job.id, page_size=2), list[str]()
    while not paged or request.page_token:
        page = raw.stub.ListLogLines(request)
        paged += [line.message for line in page.lines]
        assert len(page.lines) == 2 or not page.next_page_token
        request.page_token = page.next_page_token
    assert paged == [words[3] for words in told]
    with pytest.raises(InvalidSpec, match="'first' is not a task; expected <stage>-<index>"):
        client.log_lines(job.id, "first")
    assert client.collect_garbage(1, delete=True) is not None
    assert client.log_lines(job.id) == lines, "the log of what is committed is no garbage"
    client.delete_artifact(job.id)
    assert cluster.store().objects.list(f"logs/{job.id}/") == []
    with pytest.raises(NotFound):
        client.log_lines(job.id)


def test_the_service_says_serving_and_what_it_is(client: Client, cluster: Cluster) -> None:
    stub = health_pb2_grpc.HealthStub(cluster.channel("probe"))
    for name in ("", "dragoman.job.v1.JobService", "dragoman.artifact.v1.ArtifactService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    info = client.server_info()["activation"]
    assert not isinstance(info, Exception)
    assert (info.service, [kind.name for kind in info.kinds]) == ("probe", ["probe", "empty", "ask"])


def test_a_watch_survives_a_restart_of_the_service(client: Client, raw: Jobs, cluster: Cluster) -> None:
    job = raw.submit({"text": "restart", "steps": 30, "step_seconds": 0.2, "task_count": 1})
    restarted = threading.Event()

    def restart() -> None:
        cluster.restart("probe")
        restarted.set()

    thread: threading.Thread | None = None
    types: list[EventType] = []
    cursors: list[int] = []
    for event in client.watch([job.id]):
        if event.type is EventType.HEARTBEAT:
            continue
        types.append(event.type)
        cursors.append(event.cursor)
        if event.type is EventType.PROGRESS and thread is None:
            thread = threading.Thread(target=restart)
            thread.start()
    assert thread is not None
    thread.join()
    assert types[-1] is EventType.COMMITTED
    assert cursors == sorted(set(cursors))
