"""Real servers for the tests: one NATS and one object store for the whole session, on free ports."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dragoman.stack import Ports, Stack
from dragoman.store import Store, StoreConfig
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
"""Threads that wait do not spin: several test processes, and those that they start, share the cores."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what is in its background so, and what the tests start, which must end on Ctrl-C, inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Worlds(LoadScopeScheduling):
    """Side by side (`-n 3`) a file's tests stay on one worker, as its fixtures are.

    Those of e2e and of faults stay together, each folder on one worker: they share a world of processes, or count its
    seconds.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Returns what may not be torn apart."""
        file = Path(nodeid.split("::", 1)[0])
        return file.parent.name if file.parent.name in {"e2e", "faults"} else str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Hands the tests out by `_Worlds`."""
    return _Worlds(config, log)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """NATS and the object store of the laptop stack, without services. Nobody may kill these: see `own_servers`."""
    with Stack(tmp_path_factory.mktemp("servers"), None, Ports.free(), services=()) as stack:
        yield stack


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Stack]:
    """The same for one test alone, which may kill and start them."""
    with Stack(tmp_path / "home", None, Ports.free(), services=()) as stack:
        yield stack


@pytest.fixture
def store(servers: Stack) -> Iterator[Store]:
    """A store of its own for each test: the shared server, another bucket, which goes at the end with its volumes."""
    made = Store(store_config(servers, f"test-{uuid.uuid4().hex[:16]}"))
    made.probe()
    yield made
    made.objects.delete([listed.key for listed in made.objects.list("")])
    made.objects._client.remove_bucket(made.config.bucket)


def store_config(stack: Stack, bucket: str = "dragoman", patience: float = 30.0) -> StoreConfig:
    """Settings of a stack's object store."""
    told = stack.environment()
    return StoreConfig(
        told["DRAGOMAN_S3_ENDPOINT"],
        told["DRAGOMAN_S3_ACCESS_KEY"],
        told["DRAGOMAN_S3_SECRET_KEY"],
        bucket,
        patience=patience,
        upload_part_bytes=5 << 20,
    )
