"""A latents artifact as readers see it: few ranged reads, right values, and damage that is named."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from dragoman.errors import DataLoss, FailedPrecondition
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_cache import LatentCache, WindowSource
from latent_cache.index import index_bytes, read_index
from latent_cache.shard_file import CONTENT_START
from latent_cache.source import sampled_of, strongest_of
from safetensors.numpy import load, save

from tests.support.latents_writer import Kept
from tests.support.memory_artifact import MemoryArtifact
from tests.support.synthetic_latents import (
    D_SAE,
    DEAD,
    DENSE,
    PLANTED,
    RANDOM,
    Parts,
    activations_of,
    corpus,
    latents_parts,
    tokens_parts,
)

TEXT = corpus(seed=5)
ACTIVATIONS = activations_of(TEXT)
PARTS = latents_parts(TEXT, ACTIVATIONS)


@pytest.mark.parametrize("latents_per_shard", [1, 3, 100])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_entries_of_a_latent_are_one_ranged_read(latents_per_shard: int, dtype: str) -> None:
    kept = Kept(latents_per_shard=latents_per_shard, activation_dtype=dtype)
    artifact = MemoryArtifact(latents_parts(TEXT, ACTIVATIONS, kept))
    cache = LatentCache(artifact)
    for latent in range(D_SAE):
        artifact.ranges.clear()
        entries = cache.entries(latent)
        rows, positions = np.nonzero(ACTIVATIONS[..., latent])
        np.testing.assert_array_equal(entries.rows, rows)
        np.testing.assert_array_equal(entries.positions, positions)
        tolerance = 0 if dtype == "float32" else 2.0**-11
        np.testing.assert_allclose(entries.activations, ACTIVATIONS[rows, positions, latent], rtol=tolerance)
        assert len(artifact.ranges) == (0 if latent == DEAD else 1)


def test_the_windows_of_a_latent_are_one_ranged_read_and_hold_what_is_there() -> None:
    artifact = MemoryArtifact(PARTS)
    cache = LatentCache(artifact)
    for latent in range(D_SAE):
        artifact.ranges.clear()
        record = cache.examples(latent)
        assert len(artifact.ranges) == (0 if latent == DEAD else 1)
        for which in range(len(record)):
            window = record.window(which)
            here = slice(window.start, window.start + 16)
            np.testing.assert_array_equal(window.tokens, TEXT.tokens[window.row, here])
            np.testing.assert_array_equal(window.activations, ACTIVATIONS[window.row, here, latent])
            assert (TEXT.documents[window.row, here] == window.document).all()
            assert (window.split == "test") == (window.row >= TEXT.train_row_count)
    assert artifact.downloads == []


def test_latents_that_lie_together_come_by_one_request() -> None:
    artifact = MemoryArtifact(latents_parts(TEXT, ACTIVATIONS, Kept(latents_per_shard=4)))
    cache = LatentCache(artifact)
    wanted = [6, 1, 0, 3, DEAD, 1]
    together = cache.examples_of(wanted)
    assert [name for name, *_ in artifact.ranges] == ["examples-00000.safetensors", "examples-00001.safetensors"]
    assert sorted(together) == sorted(set(wanted))
    for latent, record in together.items():
        alone = cache.examples(latent)
        assert record.latent == latent
        np.testing.assert_array_equal(record.tokens, alone.tokens)
        np.testing.assert_array_equal(record.activations, alone.activations)


def test_top_and_sampled_windows_are_those_of_their_split() -> None:
    kept = Kept(top_windows=4, quantile_windows=2)
    cache, all_ = (LatentCache(MemoryArtifact(parts)) for parts in (latents_parts(TEXT, ACTIVATIONS, kept), PARTS))
    for latent in range(len(PLANTED)):
        record = cache.examples(latent)
        for split in ("train", "test"):
            top, sampled = strongest_of(record, split), sampled_of(record, split)
            assert len(top) == 4
            assert np.bincount(record.deciles[sampled], minlength=10).tolist() == [2] * 10
            assert (np.diff(record.peaks[top]) <= 0).all()
            assert set(record.test[np.concatenate([top, sampled])].tolist()) == {split == "test"}
        both = strongest_of(record)
        assert len(both) == 8
        # The strongest activation of all may lie in no window.
        assert record.peaks[both[0]] == all_.examples(latent).peaks.max() <= cache.index.max_activation[latent]


def test_window_counts_are_of_all_windows_not_only_of_those_kept() -> None:
    few = LatentCache(MemoryArtifact(latents_parts(TEXT, ACTIVATIONS, Kept(top_windows=1, quantile_windows=1))))
    all_ = LatentCache(MemoryArtifact(PARTS))
    for latent in range(D_SAE):
        record = all_.examples(latent)
        assert few.index.window_count_test[latent] == record.test.sum()
        assert few.index.window_count_train[latent] == (~record.test).sum()


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([0, RANDOM, DEAD]), st.sampled_from(["train", "test"]), st.integers(0, 400), st.integers(0, 50))
def test_silent_windows_are_distinct_silent_and_of_the_split(latent: int, split: str, count: int, seed: int) -> None:
    source = WindowSource(MemoryArtifact(PARTS), MemoryArtifact(tokens_parts(TEXT)))
    windows = source.silent(latent, count, split, seed)
    pool = source.cache.silent(split)
    silent_count = sum(
        not ACTIVATIONS[row, start : start + 16, latent].any()
        for row, start in zip(pool.rows, pool.starts, strict=True)
    )
    assert len(windows) == min(count, silent_count)
    assert len({(w.row, w.start) for w in windows}) == len(windows)
    for window in windows:
        here = slice(window.start, window.start + 16)
        assert window.split == split == ("train" if window.row < TEXT.train_row_count else "test")
        assert not ACTIVATIONS[window.row, here, latent].any()
        assert not window.activations.any()
        np.testing.assert_array_equal(window.tokens, TEXT.tokens[window.row, here])


def test_two_latents_never_share_a_draw_and_a_dense_one_has_no_silent_window() -> None:
    source = WindowSource(MemoryArtifact(PARTS), MemoryArtifact(tokens_parts(TEXT)))
    drawn = [[(w.row, w.start) for w in source.silent(latent, 20, "test", 0)] for latent in (DEAD, RANDOM, DEAD)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert source.silent(DENSE, 10, "train", 0) == []


def test_tables_are_read_by_latent() -> None:
    cache = LatentCache(MemoryArtifact(PARTS))
    table = cache.token_table([3, DEAD])
    assert [row["rank"] for row in table] == [0, 1, 2]
    assert {row["latent"] for row in table} == {3}
    positions = cache.positions()
    np.testing.assert_array_equal(positions.counts.sum(1), cache.index.firing_count)
    np.testing.assert_array_equal(positions.counts[DENSE], positions.totals)


def test_a_latent_that_is_not_there_is_named() -> None:
    cache = LatentCache(MemoryArtifact(PARTS))
    for read in (cache.entries, cache.examples):
        with pytest.raises(IndexError, match="latent 8 is not one of 0 to 7"):
            read(D_SAE)


def test_the_index_comes_back_and_has_stable_bytes() -> None:
    data = PARTS.data["index.safetensors"]
    index = read_index(data, "latents-1")
    assert index_bytes(index) == data
    assert index.quantiles.shape == (D_SAE, 11)
    ranking = index.ranking()
    assert sorted(ranking) == list(range(D_SAE))
    keys = [(-index.firing_count[j], j) for j in ranking]
    assert keys == sorted(keys)


def _changed(name: str, change: Callable[[bytes], bytes]) -> MemoryArtifact:
    return MemoryArtifact(Parts(PARTS.manifest, {**PARTS.data, name: change(PARTS.data[name])}))


def _flip(data: bytes) -> bytes:
    at = CONTENT_START + 200
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("kind", ["entries", "examples"])
def test_a_flipped_bit_is_noticed_and_says_where(kind: str) -> None:
    cache = LatentCache(_changed(f"{kind}-00000.safetensors", _flip))
    with pytest.raises(DataLoss, match=rf"{PARTS.manifest.id}/{kind}-00000.safetensors, latent 0: .*damaged"):
        (cache.entries if kind == "entries" else cache.examples)(0)
    assert cache.index.d_sae == D_SAE


def test_parts_of_another_size_than_the_index_promises_are_refused_unread() -> None:
    parts = [
        replace(p, size_bytes=p.size_bytes + (p.name == "entries-00000.safetensors")) for p in PARTS.manifest.parts
    ]
    artifact = MemoryArtifact(Parts(replace(PARTS.manifest, parts=parts), PARTS.data))
    with pytest.raises(DataLoss, match=r"entries-00000.safetensors has \d+ bytes; its index promises \d+"):
        LatentCache(artifact).entries(0)
    assert artifact.ranges == []
    without = [p for p in PARTS.manifest.parts if not p.name.startswith("examples-00001")]
    cache = LatentCache(MemoryArtifact(Parts(replace(PARTS.manifest, parts=without), PARTS.data)))
    with pytest.raises(DataLoss, match=r"has no part examples-00001.safetensors"):
        cache.examples(4)


def test_the_record_of_another_latent_is_not_taken_for_this_one() -> None:
    index = read_index(PARTS.data["index.safetensors"], "latents-1")
    offsets = index.example_byte_offsets.copy()
    content = PARTS.data["examples-00000.safetensors"][CONTENT_START:]
    first, second = content[: offsets[1]], content[offsets[1] : offsets[2]]
    offsets[1] = len(second)
    data = dict(PARTS.data)
    data["index.safetensors"] = index_bytes(replace(index, example_byte_offsets=offsets))
    data["examples-00000.safetensors"] = (
        PARTS.data["examples-00000.safetensors"][:CONTENT_START] + second + first + content[len(first) + len(second) :]
    )
    with pytest.raises(DataLoss, match="found the record of latent 1"):
        LatentCache(MemoryArtifact(Parts(PARTS.manifest, data))).examples(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {n: v for n, v in t.items() if n != "density"}, "lacks density"),
        (lambda t: {**t, "offsets": t["offsets"][:-1]}, "offsets are not the bounds of 8 latents"),
        (lambda t: {**t, "example_byte_offsets": t["example_byte_offsets"][::-1].copy()}, "are not the bounds"),
        (lambda t: {**t, "firing_count": t["firing_count"] + 1}, "offsets and firing_count differ"),
    ],
)
def test_an_index_that_does_not_fit_together_is_refused(
    change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], message: str
) -> None:
    data = save(change(load(PARTS.data["index.safetensors"])))
    with pytest.raises(DataLoss, match=message):
        read_index(data, "latents-1")


def test_what_is_no_index_or_no_pool_is_refused() -> None:
    with pytest.raises(DataLoss, match="no safetensors file"):
        read_index(b"no", "latents-1")
    cache = LatentCache(_changed("silent.safetensors", lambda _: b"no"))
    with pytest.raises(DataLoss, match=r"silent\.safetensors cannot be read"):
        cache.silent("train")


def test_an_artifact_of_the_first_layout_is_to_be_made_again() -> None:
    old = save({"offsets": np.zeros(3, np.int64), "firing_count": np.zeros(2, np.int64)})
    with pytest.raises(FailedPrecondition, match=r"layout 1 .*submit its spec again") as caught:
        read_index(old, "latents-1")
    assert caught.value.reason == "OLD_ARTIFACT"
