"""One cluster for the fault tests of the shell, with two workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.jobs import Jobs


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """NATS, store, one probe server, two probe workers."""
    root: Path = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(root)
    try:
        cluster.start_infrastructure()
        cluster.service("probe", "serve", name="api")
        for number in (1, 2):
            cluster.service("probe", "work", name=f"worker-{number}")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def jobs(cluster: Cluster) -> Jobs:
    """A client of the probe server."""
    return Jobs(cluster.channel("api"), "probe")
