"""The inverted layout: what is written is what is read, by one ranged read a latent."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from latent_cache import LatentCache
from latent_cache.layout import index_bytes, pack, plan_shards, read_index, unpack, write_entries
from safetensors.numpy import load_file

from tests.support.memory_artifact import MemoryArtifact
from tests.support.synthetic_latents import D_SAE, DEAD, activations_of, corpus, latents_parts

ints = hnp.arrays(np.int32, 7, elements=st.integers(0, 2**31 - 1))


@given(ints, ints, hnp.arrays(np.float32, 7, elements=st.floats(width=32, allow_nan=False)))
def test_packed_entries_come_back_bit_for_bit(rows: np.ndarray, positions: np.ndarray, values: np.ndarray) -> None:
    packed = pack(rows, positions, values)
    assert packed.dtype == np.int32
    assert packed.shape == (7, 3)
    entries = unpack(packed)
    np.testing.assert_array_equal(entries.rows, rows)
    np.testing.assert_array_equal(entries.positions, positions)
    assert entries.activations.tobytes() == values.tobytes()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 20))
def test_shards_cover_all_latents_and_hold_one_latent_too_much_at_most(counts: list[int], target: int) -> None:
    starts = plan_shards(np.asarray(counts, np.int64), target)
    assert starts[0] == 0
    assert starts[-1] == len(counts)
    assert (np.diff(starts) > 0).all()
    for first, end in pairwise(starts):
        assert sum(counts[first : end - 1]) < target
        assert end == len(counts) or sum(counts[first:end]) >= target


@pytest.mark.parametrize("entries_per_shard", [1, 60, 500, 10**6])
def test_each_latent_is_one_ranged_read_after_its_shards_header(entries_per_shard: int) -> None:
    text = corpus(seed=3, document_count=12)
    dense = activations_of(text)
    artifact = MemoryArtifact(latents_parts(text, dense, entries_per_shard))
    cache = LatentCache(artifact)
    for latent in range(D_SAE):
        for attempt in range(2):
            artifact.ranges.clear()
            entries = cache.entries(latent)
            rows, positions = np.nonzero(dense[..., latent])
            np.testing.assert_array_equal(entries.rows, rows)
            np.testing.assert_array_equal(entries.positions, positions)
            np.testing.assert_array_equal(entries.activations, dense[rows, positions, latent])
            if attempt == 1:
                assert len(artifact.ranges) == (0 if latent == DEAD else 1)
                assert sum(length for *_, length in artifact.ranges) == 12 * len(entries)
    with pytest.raises(IndexError, match="0 to 7"):
        cache.entries(D_SAE)


def test_the_index_comes_back_and_has_stable_bytes() -> None:
    text = corpus(seed=3, document_count=12)
    data = latents_parts(text, activations_of(text)).data["index.safetensors"]
    index = read_index(data)
    assert index_bytes(index) == data
    assert index.d_sae == D_SAE
    assert index.quantiles.shape == (D_SAE, 11)
    ranking = index.ranking()
    assert sorted(ranking) == list(range(D_SAE))
    keys = [(-index.firing_count[j], j) for j in ranking]
    assert keys == sorted(keys)


def test_a_shard_file_has_the_documented_tensor(tmp_path: Path) -> None:
    packed = np.arange(12, dtype=np.int32).reshape(4, 3)
    write_entries(tmp_path / "entries.safetensors", packed)
    tensors = load_file(tmp_path / "entries.safetensors")
    assert list(tensors) == ["entries"]
    np.testing.assert_array_equal(tensors["entries"], packed)


def test_the_strongest_windows_are_found_by_latent() -> None:
    text = corpus(seed=3, document_count=12)
    cache = LatentCache(MemoryArtifact(latents_parts(text, activations_of(text))))
    found = cache.top_windows([3, DEAD, 0])
    assert found[DEAD] == []
    for latent in (3, 0):
        peaks = [w.max for w in found[latent]]
        assert len(peaks) == 6
        assert peaks == sorted(peaks, reverse=True)
        assert peaks[0] == pytest.approx(float(cache.index.max_activation[latent]))
