"""Who may call what, over the wire and against the real job system."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from dragoman.client import Addresses, Client
from dragoman.errors import InvalidSpec, NotFound, PermissionDenied, Unauthenticated
from dragoman.job.v1 import job_service_pb2, maintenance_service_pb2
from dragoman.principals import Principals, Role, hash_of, required_role
from dragoman.rpc.errors import retry_delay

from tests.support.cluster import Cluster

FILE = f"""
principals:
  - {{name: viewer, token_sha256: {hash_of("token-of-viewer")}, role: read}}
  - {{name: ana, token_sha256: {hash_of("token-of-ana")}, max_open_jobs: 2}}
  - {{name: root, token_sha256: {hash_of("token-of-root")}, role: admin}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """NATS, store and a probe server that knows three principals; no worker."""
    root: Path = tmp_path_factory.mktemp("cluster")
    path = root / "principals.yaml"
    path.write_text(FILE)
    cluster = Cluster(root, {"DRAGOMAN_PRINCIPALS": str(path)})
    try:
        cluster.start_infrastructure()
        cluster.service("probe", "serve", name="api")
        cluster.channel("api")
        yield cluster
    finally:
        cluster.stop()


def _client(cluster: Cluster, name: str) -> Client:
    return Client(Addresses({"scorer": f"127.0.0.1:{cluster.ports['api']}"}, token=f"token-of-{name}"))


def _submit(cluster: Cluster, name: str, text: str) -> job_service_pb2.SubmitJobResponse:
    channel = cluster.channel("api")
    call = channel.unary_unary(
        "/dragoman.job.v1.JobService/SubmitJob",
        request_serializer=job_service_pb2.SubmitJobRequest.SerializeToString,
        response_deserializer=job_service_pb2.SubmitJobResponse.FromString,
    )
    request = job_service_pb2.SubmitJobRequest(kind="probe")
    request.spec.update({"text": text, "task_count": 1})
    return call(request, metadata=(("authorization", f"Bearer token-of-{name}"),))


def test_each_role_may_do_its_own(cluster: Cluster) -> None:
    made = _submit(cluster, "ana", uuid.uuid4().hex).job
    assert made.principal == "ana"
    with _client(cluster, "viewer") as viewer:
        assert viewer.get(made.id).principal == "ana"
        with pytest.raises(PermissionDenied, match="viewer has the role read; CancelJob needs submit"):
            viewer.cancel(made.id)
    with _client(cluster, "ana") as ana:
        with pytest.raises(PermissionDenied, match="ana has the role submit; CollectGarbage needs admin"):
            ana.collect_garbage()
        assert ana.cancel(made.id).id == made.id
    with _client(cluster, "root") as root:
        assert root.collect_garbage() == []
    with (
        _client(cluster, "nobody") as nobody,
        pytest.raises(Unauthenticated, match="no token that this server accepts"),
    ):
        nobody.get(made.id)


def test_a_quota_is_answered_with_when_to_try_again(cluster: Cluster) -> None:
    open_jobs = [_submit(cluster, "ana", uuid.uuid4().hex).job for _ in range(2)]
    text = uuid.uuid4().hex
    with pytest.raises(grpc.RpcError) as caught:
        _submit(cluster, "ana", text)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "ana has 2 jobs that are not done and may have 2" in caught.value.details()
    assert retry_delay(caught.value) == 30
    known = _submit(cluster, "ana", open_jobs[0].spec["text"])
    assert known.job.id == open_jobs[0].id, "a job that is known costs nothing"
    assert _submit(cluster, "root", text).created, "another principal has limits of its own"
    with _client(cluster, "ana") as ana:
        ana.cancel(open_jobs[0].id)
        assert ana.wait(open_jobs[0].id, 20).state.terminal
        assert _submit(cluster, "ana", uuid.uuid4().hex).created
        for job in ana.list(limit=0):
            if not job.state.terminal:
                ana.cancel(job.id)


def test_what_is_not_known_asks_for_the_most() -> None:
    assert required_role("/dragoman.job.v1.JobService/GetJob") is Role.READ
    assert required_role("/dragoman.artifact.v1.ArtifactService/DownloadPart") is Role.READ
    assert required_role("/dragoman.activation.v1.ActivationService/SubmitLatents") is Role.SUBMIT
    service = maintenance_service_pb2.DESCRIPTOR.services_by_name["MaintenanceService"]
    for method in service.methods:
        assert required_role(f"/{service.full_name}/{method.name}") is Role.ADMIN
    assert required_role("/dragoman.job.v1.JobService/ForgetEverything") is Role.ADMIN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("principals: []", "principals: Tuple should have at least 1 item"),
        ("principals: [{name: a, token_sha256: secret}]", "principals.0.token_sha256: String should match"),
        (f"principals: [{{name: a, token_sha256: {hash_of('x')}, role: king}}]", "principals.0.role: Input should be"),
        (f"principals: [{{name: a, token: {hash_of('x')}}}]", "principals.0.token_sha256: Field required"),
        (
            f"principals: [{{name: a, token_sha256: {hash_of('x')}}}, {{name: b, token_sha256: {hash_of('x')}}}]",
            "the token_sha256 of a is there twice",
        ),
        ("principals: [", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_at_start(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "principals.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSpec) as caught:
        Principals.from_file(path)
    assert expected in caught.value.message
    assert "secret" not in caught.value.message
    with pytest.raises(NotFound, match="cannot read"):
        Principals.from_file(tmp_path / "missing.yaml")


def test_only_a_bearer_token_identifies() -> None:
    principals = Principals.of_token("right")
    assert principals.identify("Bearer right") is not None
    for wrong in ("", "right", "Basic right", "Bearer", "Bearer wrong", f"Bearer {hash_of('right')}"):
        assert principals.identify(wrong) is None
