"""Overlap and export as they are deployed: processes, a real NATS server and a real object store, the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dragoman.cli import main
from dragoman.client import Client
from dragoman.jobs import JobState

from tests.support.cluster import Cluster

torch = pytest.importorskip("torch")

import sparse_coders  # noqa: E402

SAELENS = Path(__file__).parents[1] / "unit" / "sparse_coders" / "saelens"
WEIGHTS = {"saelens": "sae_weights.safetensors", "sparsify": "sae.safetensors"}
ONE_THREAD = {"SAE_TRAINER_TORCH_THREADS": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """NATS, store, one server and one worker of the trainer."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_infrastructure()
        for role in ("serve", "work"):
            cluster.service("sae_trainer", role, environ=ONE_THREAD)
        cluster.channel("sae_trainer-serve")
        yield cluster
    finally:
        cluster.stop()


@pytest.mark.slow
def test_a_coder_is_compared_and_exported_by_the_command_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRAGOMAN_SAE_TRAINER_ADDRESS", f"127.0.0.1:{cluster.ports['sae_trainer-serve']}")
    model = {"source": "EleutherAI/pythia-70m"}
    with Client(home=tmp_path) as client:
        coder = client.submit("coder", {"imported": {"source": str(SAELENS / "topk"), "model": model}})
        overlap = client.submit("overlap", {"coder_id": coder.id, "other_coder_id": coder.id, "null_count": 0})
        assert client.wait(overlap.id, 120).state is JobState.SUCCEEDED, cluster.log("sae_trainer-work")[-3000:]
        statistics = client.manifest(overlap.id).statistics
    assert (statistics["shared_count"], statistics["shared_fraction"], statistics["d_sae"]) == (16, 1.0, 16)
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    expected = sparse_coders.load(SAELENS / "topk")(x)
    for layout in ("saelens", "sparsify"):
        words = ["--home", str(tmp_path), "export", coder.id, str(tmp_path / layout), "--layout", layout]
        assert main(words) == 0
        folder = Path(capsys.readouterr().out.strip())
        assert folder == tmp_path / layout / ("layers.3" if layout == "sparsify" else "")
        torch.testing.assert_close(sparse_coders.load(folder)(x), expected, rtol=1e-5, atol=1e-5)
        assert {path.name for path in folder.iterdir()} == {"cfg.json", WEIGHTS[layout]}
        assert main(words) == 2
        assert "not an empty folder" in capsys.readouterr().err
