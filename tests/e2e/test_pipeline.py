"""From text to a scorecard through the real services, and what the artifacts along the way promise."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from dragoman.client import Client
from dragoman.folder import FolderArtifact

from tests.e2e.conftest import Pipeline
from tests.e2e.world import World


def table(world: World, artifact_id: str, part: str) -> dict[str, list[object]]:
    """A Parquet part as columns."""
    return pq.read_table(io.BytesIO(world.store().artifact(artifact_id).read(part))).to_pydict()


def test_the_scorecard_says_what_it_must(world: World, pipeline: Pipeline) -> None:
    artifact = world.store().artifact(pipeline.scorecard)
    card = json.loads(artifact.read("scorecard.json"))
    html = artifact.read("report.html").decode()
    text = artifact.read("scorecard.txt").decode()
    for scorer in ("detection", "fuzzing"):
        assert scorer in card["scorers"]
        assert scorer in text.lower()
    assert "distinguishable_from_control" in json.dumps(card["scorers"]["detection"])
    assert text.count("other than control?") == 10, "two scorers, four metrics, and two more of detection"
    assert text.count("shuffled") >= 4
    assert "<html" in html
    assert 'src="http' not in html
    assert max(len(line) for line in text.splitlines()) <= 100


def test_no_document_is_shown_to_explainer_and_judge(world: World, pipeline: Pipeline) -> None:
    split = dict(
        zip(*[table(world, pipeline.tokens, "documents.parquet")[c] for c in ("document", "split")], strict=True)
    )
    for side in pipeline.sides.values():
        shown = {
            d for docs in table(world, side["explanations"], "explanations.parquet")["example_documents"] for d in docs
        }
        assert shown, "the explainer must have seen something"
        assert {split[d] for d in shown} == {"train"}
        for scorer in ("detection", "fuzzing"):
            judged = set(table(world, side[scorer], "examples.parquet")["document"])
            assert {split[d] for d in judged} == {"test"}
            assert not shown & judged


def test_entries_are_the_coders_activations(world: World, pipeline: Pipeline) -> None:
    """Decodes nothing by our own reader: straight from the documented layout."""
    from safetensors.numpy import load

    latents = world.store().artifact(pipeline.sides["trained"]["latents"])
    index = load(latents.read("index.safetensors"))
    names = sorted(n for n in latents.names() if n.startswith("entries-"))
    content = b"".join(latents.read(name)[128:] for name in names)
    offsets, bytes_ = index["offsets"], index["entry_byte_offsets"]
    assert offsets[-1] == latents.manifest.statistics["entry_count"]
    assert bytes_[-1] == len(content)
    assert (np.diff(offsets) == index["firing_count"]).all()
    for latent in range(len(offsets) - 1):
        places, values = _decoded(content[bytes_[latent] : bytes_[latent + 1]], int(np.diff(offsets)[latent]))
        assert sorted(set(places)) == places
        assert all(0 < value <= 1 for value in values), "relative to the latent's maximum"
        assert not values or max(values) == 1
    token_count = latents.manifest.statistics["token_count"]
    assert 7 * token_count < offsets[-1] <= 8 * token_count, "TopK with k = 8 fires close to 8 latents a token"


def _decoded(data: bytes, count: int) -> tuple[list[int], list[float]]:
    """One latent of a single block, byte by byte as docs/data-flow.md says."""
    if not data:
        assert count == 0
        return [], []
    gap_bytes, _ = struct.unpack_from("<II", data)
    places, place, gap, shift = list[int](), 0, 0, 0
    for byte in data[8 : 8 + gap_bytes]:
        gap |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            place += gap
            places.append(place)
            gap = shift = 0
    values = np.frombuffer(data, np.float16, offset=8 + gap_bytes).tolist()
    assert len(places) == len(values) == count
    return places, values


def test_a_finished_artifact_is_a_cache_hit(world: World, client: Client, pipeline: Pipeline) -> None:
    job = client.submit("tokens", world.tokens())
    assert (job.id, job.state) == (pipeline.tokens, "SUCCEEDED")


def test_lineage_reaches_the_text(client: Client, pipeline: Pipeline) -> None:
    nodes = client.lineage(pipeline.scorecard)
    assert nodes[0].artifact_id == pipeline.scorecard
    assert pipeline.tokens in {node.artifact_id for node in nodes}
    assert all(node.committed for node in nodes)
    assert len(nodes) == 18


def test_download_gives_a_readable_folder(client: Client, pipeline: Pipeline, tmp_path: Path) -> None:
    folder = client.download(pipeline.sides["trained"]["coder"], tmp_path / "coder")
    artifact = FolderArtifact(folder)
    assert {"cfg.json", "sae.safetensors", "curves.parquet"} <= set(artifact.names())
    assert artifact.read("cfg.json") == (folder / "cfg.json").read_bytes()


def test_the_coder_beats_the_mean_and_is_measured_on_other_documents(world: World, pipeline: Pipeline) -> None:
    for side in pipeline.sides.values():
        statistics = world.store().artifact(side["evaluation"]).manifest.statistics
        assert statistics["document_overlap_count"] == 0
        assert 0 < statistics["fvu"] < 1
        low, high = statistics["fvu_interval"]
        assert low <= statistics["fvu"] <= high
        assert statistics["l0"] <= 8


def test_scores_carry_their_null_and_denominators(world: World, pipeline: Pipeline) -> None:
    for side in pipeline.sides.values():
        for scorer in ("detection", "fuzzing"):
            statistics = world.store().artifact(side[scorer]).manifest.statistics
            assert statistics["floor"] == 0.5
            assert {"total", "dead", "rare", "attempted", "scored", "question_count", "answered_count"} <= set(
                statistics
            )
            for name in ("auroc", "null_auroc"):
                assert {"mean", "low", "high", "n"} <= set(statistics[name])
            assert statistics["total"] == 192
