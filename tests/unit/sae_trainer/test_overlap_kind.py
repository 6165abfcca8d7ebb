"""The overlap kind over folders: what must be 100 %, what must be 0 %, and what is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sparse_coders
import torch
from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from dragoman.folder import FolderArtifact
from sae_trainer.config import Config
from sae_trainer.overlap_kind import OverlapKind
from sae_trainer.overlap_spec import OverlapSpec
from sparse_coders import ReLUCoder, SparseCoder, TopKCoder

from tests.support.local_run import reversed_order, run_local
from tests.unit.sae_trainer.coder_folder import write_coder

CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=2**30)


def random_coder(d_sae: int = 96, d_model: int = 32, seed: int = 0) -> TopKCoder:
    """Encoder and decoder differ, as those of a trained coder do."""
    coder = TopKCoder(d_model, d_sae, 3)
    generator = torch.Generator().manual_seed(seed)
    coder.W_enc.data.normal_(generator=generator)
    coder.W_dec.data.copy_(coder.W_enc + 0.3 * torch.randn(coder.W_enc.shape, generator=generator))
    return coder


def overlap(tmp_path: Path, coder: SparseCoder, other: SparseCoder, **fields: Any) -> FolderArtifact:
    first, second = write_coder(tmp_path / "a", coder), write_coder(tmp_path / "b", other)
    spec = OverlapSpec.model_validate({"coder_id": first.id, "other_coder_id": second.id, **fields})
    inputs = {"coder": first, "other": second}
    return run_local(OverlapKind(CONFIG), spec, inputs, tmp_path / "overlap", order=reversed_order)


def said(artifact: FolderArtifact) -> Mapping[str, Any]:
    return artifact.manifest.statistics


def test_a_coder_shares_all_with_itself_and_nothing_with_random_directions(tmp_path: Path) -> None:
    found = overlap(tmp_path, random_coder(), random_coder(), null_count=2)
    figures = said(found)
    assert (figures["shared_count"], figures["shared_fraction"], figures["agreement_fraction"]) == (96, 1.0, 1.0)
    assert figures["encoder_mmcs"] == pytest.approx(1.0, abs=1e-6)
    assert figures["shared_fraction_by_threshold"]["0.95"] == 1.0
    assert figures["shared_fraction_interval"][0] > 0.95
    assert figures["null_shared_fraction"] == 0
    assert 0.3 < figures["null_encoder_mmcs"] < 0.6
    assert (figures["d_sae"], figures["other_d_sae"], figures["disagreeing_cosine"]) == (96, 96, None)
    assert json.loads(found.read("overlap.json")).items() <= figures.items()
    assert {part.name for part in found.manifest.parts} == {
        "latents.parquet",
        "other_latents.parquet",
        "overlap.json",
        "overlap.html",
    }
    assert "<tr><th>shared_fraction<td>1<tr>" in found.read("overlap.html").decode()


def test_a_permuted_copy_is_the_same_coder(tmp_path: Path) -> None:
    coder, copy = random_coder(), random_coder()
    order = torch.randperm(96, generator=torch.Generator().manual_seed(3))
    for name in ("W_enc", "W_dec"):
        getattr(copy, name).data.copy_(5 * getattr(coder, name).data[order])  # norms do not count
    found = overlap(tmp_path, coder, copy)
    assert said(found)["shared_fraction"] == 1.0
    table = pq.read_table(tmp_path / "overlap" / "latents.parquet").to_pydict()
    assert table["encoder_match"] == table["decoder_match"] == table["encoder_nearest"] == order.argsort().tolist()
    assert table["shared"] == [True] * 96


def test_a_sign_flipped_encoder_shares_nothing(tmp_path: Path) -> None:
    coder, flipped = random_coder(), random_coder()
    flipped.W_enc.data.neg_()
    figures = said(overlap(tmp_path, coder, flipped, null_count=0))
    assert (figures["shared_count"], figures["decoder_mmcs"]) == (0, pytest.approx(1.0))
    assert figures["encoder_mmcs"] < 0.7
    assert "null_encoder_mmcs" not in figures


def test_coders_of_other_sizes_and_architectures(tmp_path: Path) -> None:
    """40 of 96 latents are those of a coder of 60: the smaller one's latents are the denominator, from either side."""
    coder, small = random_coder(), ReLUCoder(32, 60)
    generator = torch.Generator().manual_seed(7)
    for name in ("W_enc", "W_dec"):
        getattr(small, name).data.normal_(generator=generator)[:40] = getattr(coder, name).data[10:50]
    for folder, pair in (("ab", (coder, small)), ("ba", (small, coder))):
        found = overlap(tmp_path / folder, *pair)
        assert (said(found)["shared_count"], said(found)["shared_fraction"]) == (40, pytest.approx(40 / 60))
        path = tmp_path / folder / "overlap"
        table, other = (pq.read_table(path / f"{name}.parquet").to_pydict() for name in ("latents", "other_latents"))
        assert (sum(table["shared"]), sum(other["shared"])) == (40, 40)
        assert sum(match is None for match in table["encoder_match"]) == (36 if folder == "ab" else 0)


def test_half_of_the_latents_are_shared_at_the_threshold(tmp_path: Path) -> None:
    coder, other = random_coder(), random_coder(seed=5)
    for name in ("W_enc", "W_dec"):
        getattr(other, name).data[:48] = getattr(coder, name).data[:48]
    figures = said(overlap(tmp_path, coder, other))
    low, high = figures["shared_fraction_interval"]
    assert figures["shared_fraction"] == 0.5
    assert 0.35 < low < 0.5 < high < 0.65
    assert figures["agreeing_cosine"] > figures["disagreeing_cosine"]


def check(coder: FolderArtifact, other: FolderArtifact, config: Config = CONFIG) -> None:
    spec = OverlapSpec.model_validate({"coder_id": coder.id, "other_coder_id": other.id})
    infos = {
        role: InputInfo(a.id, "coder", a.manifest.spec, a.manifest)
        for role, a in {"coder": coder, "other": other}.items()
    }
    OverlapKind(config).check(spec, infos)


def test_other_widths_are_refused(tmp_path: Path) -> None:
    narrow = write_coder(tmp_path / "narrow", random_coder(d_model=16))
    plain = write_coder(tmp_path / "plain", random_coder())
    transcoder = write_coder(tmp_path / "transcoder", TopKCoder(32, 96, 3, transcoder=True, d_out=8))
    with pytest.raises(InvalidSpec, match="reads activations 32 wide, the other one 16 wide"):
        check(plain, narrow)
    with pytest.raises(InvalidSpec, match="gives activations 32 wide, the other one 8 wide") as error:
        check(plain, transcoder)
    assert error.value.reason == "WIDTH_MISMATCH"


def test_what_does_not_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    one = write_coder(tmp_path / "one", random_coder(), d_sae=2**20, d_model=4096, d_out=4096)
    config = Config(1, "cpu", 2**30, worker_memory_bytes=32 * 2**30)
    with pytest.raises(InvalidSpec, match=r"1,048,576 with 1,048,576 latents .* about 64 GiB, a worker has 32 GiB"):
        check(one, one, config)
    assert sparse_coders.load(one.path).d_sae == 96
