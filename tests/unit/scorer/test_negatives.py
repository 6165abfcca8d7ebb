"""Hard negatives: windows of neighbours, and windows that embed alike, reported apart."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.folder import FolderArtifact
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from latent_cache.tables import NEIGHBOURS_NAME, NEIGHBOURS_SCHEMA
from safetensors.torch import save_file
from scorer.decoder_neighbours import decoder_neighbours
from scorer.scores_kind import ScoresKind
from scorer.spec import ScoresSpec

from tests.support.local_run import run_local
from tests.support.synthetic_latents import Parts
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS = 5
CODER_ID, WEIGHTS = "coder-" + "3" * 32, "sae.safetensors"


def with_neighbours(latents: Parts) -> Parts:
    """Each latent's first neighbour is the next latent, its second the one after."""
    rows = [
        {"latent": j, "rank": rank, "neighbour": (j + 1 + rank) % LATENTS, "jaccard": 0.5, "both_count": 3}
        for j in range(LATENTS)
        for rank in range(2)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=NEIGHBOURS_SCHEMA), sink)
    data = sink.getvalue()
    info = PartInfo(NEIGHBOURS_NAME, f"memory/{NEIGHBOURS_NAME}", len(data), "", len(rows))
    spec = {**latents.manifest.spec, "neighbours": 2}
    manifest = replace(latents.manifest, spec=spec, parts=[*latents.manifest.parts, info])
    return Parts(manifest, {**latents.data, NEIGHBOURS_NAME: data})


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    root = tmp_path_factory.mktemp("artifacts")
    made = p.planted(LATENTS)
    made = replace(made, latents=with_neighbours(made.latents))
    return p.lay_out(with_coder(made, root), root)


def coder(folder: Path, dtype: torch.dtype) -> FolderArtifact:
    """A coder in which each latent's decoder direction is between its neighbours' on a circle."""
    angles = 2 * np.pi * np.arange(LATENTS) / LATENTS + np.asarray([0.0, 0.1, 0.3, 0.7, 0.9])[:LATENTS]
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    folder.mkdir(parents=True)
    save_file({"W_dec": torch.from_numpy(3.0 * directions).to(dtype), "b_dec": torch.zeros(2)}, folder / WEIGHTS)
    data = (folder / WEIGHTS).read_bytes()
    part = PartInfo(WEIGHTS, WEIGHTS, len(data), hashlib.sha256(data).hexdigest(), LATENTS)
    manifest = Manifest(CODER_ID, "coder", 1, {}, {}, [part], {})
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


def with_coder(made: p.Planted, root: Path) -> p.Planted:
    coder(root / CODER_ID, torch.float32)
    inputs = {**made.latents.manifest.inputs, "coder": CODER_ID}
    return replace(made, latents=Parts(replace(made.latents.manifest, inputs=inputs), made.latents.data))


def scored(laid: p.Laid, rule: p.Rule, folder: Path, **changes: object) -> FolderArtifact:
    fields = {"scorer": "detection", "neighbour_count": 12, "bootstrap_count": 100, "inactive_count": 12, **changes}
    spec = ScoresSpec(explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, window_length=p.LENGTH, **fields)
    kind = ScoresKind(p.RuleJudge(rule), laid.artifacts, p.RuleEmbedder(p.by_family))
    return run_local(kind, spec, laid.inputs, folder / "scores")


def any_planted_word(asked: p.Asked) -> float:
    """Does not look at the description: a label that says no more than that some latent fires."""
    return 0.9 if any(word.startswith("q") for word in asked.text.split()) else 0.1


def test_a_label_that_fits_neighbours_too_is_found_out_by_them(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, any_planted_word, tmp_path)
    for row in table(made, "types.parquet"):
        assert row["n_active"] == 20
        if row["type"] == "neighbour":
            assert 5 <= row["n_inactive"] <= 12, "as many as two neighbours have strong windows without the latent"
            assert row["auroc"] == row["balanced_accuracy"] == 0.5
        else:
            assert row["n_inactive"] == 12
    by_type = statistics(made)["by_type"]
    assert set(by_type) == {"neighbour", "random"}
    assert by_type["neighbour"]["auroc"]["mean"] == 0.5 < by_type["random"]["auroc"]["mean"]
    assert by_type["neighbour"]["auroc"]["n"] == LATENTS
    assert set(statistics(made)["question_count_by_type"]) == {"active", "neighbour", "random"}


def test_oracle_tells_neighbours_too(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, p.oracle, tmp_path)
    assert statistics(made)["by_type"]["neighbour"]["auroc"]["mean"] >= 0.95
    for e in table(made, "examples.parquet"):
        words = {token.strip() for token in e["tokens"]}
        own = bool(words & set(p.latent_words(e["latent"])))
        assert own is e["label"], "the latent is silent in every negative"
        assert any(e["activations"]) is e["label"]
        if e["type"] == "neighbour":
            beside = [p.latent_words((e["latent"] + 1 + rank) % LATENTS) for rank in range(2)]
            assert words & {word for own_words in beside for word in own_words}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_decoder_neighbours_are_those_of_the_greatest_cosine(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = coder(tmp_path / CODER_ID, dtype)
    found = decoder_neighbours(stored, [0, 3], 2)
    assert found == {0: [4, 1], 3: [4, 2]}, "by angle, from 0.0, 1.36, 2.81, 4.47 and 5.93"
    assert {len(own) for own in decoder_neighbours(stored, [1, 2], 10).values()} == {LATENTS - 1}


def test_what_is_no_coder_has_no_decoder_neighbours(laid: p.Laid) -> None:
    with pytest.raises(FailedPrecondition, match="decoder directions are unknown"):
        decoder_neighbours(laid.inputs["latents"], [0], 2)


def test_windows_of_decoder_neighbours_are_a_type_of_their_own(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, any_planted_word, tmp_path, decoder_count=12, neighbour_count=4)
    assert set(statistics(made)["by_type"]) == {"neighbour", "decoder_neighbour", "random"}
    assert statistics(made)["by_type"]["decoder_neighbour"]["auroc"]["mean"] == 0.5
    examples = [e for e in table(made, "examples.parquet") if e["arm"] == "score"]
    places = [(e["latent"], e["row"], e["start"]) for e in examples]
    assert len(set(places)) == len(places), "a window is of one type"
    assert not any(any(e["activations"]) for e in examples if e["type"] == "decoder_neighbour")


def test_near_windows_are_nearer_than_random_ones(laid: p.Laid, tmp_path: Path) -> None:
    def family_of(e: dict) -> np.ndarray:
        vector = np.asarray(p.by_family(" ".join(e["tokens"])))
        return vector / np.linalg.norm(vector)

    made = scored(laid, p.oracle, tmp_path, neighbour_count=0, near_count=12)
    examples = [e for e in table(made, "examples.parquet") if e["arm"] == "score"]
    places = [(e["latent"], e["row"], e["start"]) for e in examples]
    assert len(set(places)) == len(places), "no window stands twice"
    for latent in range(LATENTS):
        mine = [e for e in examples if e["latent"] == latent]
        active = np.stack([family_of(e) for e in mine if e["label"]])
        near, random = (
            np.mean([(active @ family_of(e)).max() for e in mine if e["type"] == type_])
            for type_ in ("embedding_near", "random")
        )
        assert near > random


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scorer": "fuzzing"}, "fuzzing makes its own negatives; leave it out, or take one of detection, embedding"),
        ({"scorer": "intruder", "neighbour_count": 0, "near_count": 1}, "intruder makes its own negatives"),
    ],
)
def test_negatives_where_a_scorer_takes_none_are_refused(
    laid: p.Laid, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message):
        scored(laid, p.oracle, tmp_path, **changes)


def test_latents_without_neighbours_are_refused(tmp_path: Path) -> None:
    without = p.lay_out(p.planted(3), tmp_path / "in")
    with pytest.raises(InvalidSpec, match="made without neighbours; expected 0, or give latents made with neighbours"):
        scored(without, p.oracle, tmp_path)
