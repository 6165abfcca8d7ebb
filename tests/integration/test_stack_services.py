"""The four services as children of the laptop stack."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from dragoman.stack import PACKAGES, Ports, Stack
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("home"), None, Ports.free()) as stack:
        yield stack


def _health(address: str) -> str:
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def test_every_service_is_found_healthy_and_describes_itself(stack: Stack) -> None:
    content = json.loads((stack.home / "stack.json").read_text())
    assert list(content["services"]) == list(PACKAGES)
    for service in content["services"].values():
        assert _health(service["grpc"]) == "SERVING"
        with grpc.insecure_channel(service["grpc"]) as channel:
            listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert {"dragoman.job.v1.JobService", "grpc.health.v1.Health"} < listed
        with urllib.request.urlopen(service["metrics"], timeout=5) as response:
            assert 'dragoman_s3_requests_total{method="put_if_absent"}' in response.read().decode()


def test_no_api_process_loads_torch(stack: Stack) -> None:
    for name in PACKAGES:
        maps = Path(f"/proc/{stack.pid(name)}/maps").read_text()
        assert "python" in maps
        assert "libtorch" not in maps, f"{name} imports torch before there is anything to compute"


def test_services_share_one_machine_lock_and_one_home(stack: Stack) -> None:
    told = [Path(f"/proc/{stack.pid(name)}/environ").read_bytes().decode().split("\0") for name in PACKAGES]
    for environ in told:
        assert f"DRAGOMAN_MACHINE_LOCK={stack.home / 'machine.lock'}" in environ
        assert f"DRAGOMAN_HOME={stack.home}" in environ


def test_a_killed_service_comes_back(stack: Stack) -> None:
    pid = stack.pid("scorer")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while stack.pid("scorer") in {None, pid}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stack.start("scorer")  # it runs already: this waits for its health
    assert _health(stack.ports.address("scorer")) == "SERVING"


def test_one_more_worker(stack: Stack) -> None:
    name = stack.add_worker("explainer")
    pid = stack.pid(name)
    assert pid is not None
    deadline = time.monotonic() + 10
    while not (arguments := Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1:4]):
        assert time.monotonic() < deadline  # a process that was just forked has no command line yet
        time.sleep(0.01)
    assert arguments == ["-m", "explainer", "work"]
    time.sleep(3)
    assert stack.pid(name) == pid, "it runs on"
    stack.kill(name, signal.SIGTERM)
    assert stack.pid(name) is None


_MAIN = """
import sys
from pathlib import Path
from dragoman.stack import Ports, Stack
with Stack(Path(sys.argv[1]), None, Ports(int(sys.argv[2])), services=["scorer"]) as stack:
    print(*(state.pid for state in stack.states()), flush=True)
    stack.wait()
"""


def test_services_do_not_outlive_a_killed_stack(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MAIN, str(tmp_path), str(Ports.free().base)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        process.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a process outlived its stack"
        time.sleep(0.05)
