"""Windows against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_cache import Entries, WindowGrid, WindowSource
from latent_cache.windows import activating, draw_silent, find_runs

from tests.support.memory_artifact import MemoryArtifact
from tests.support.synthetic_latents import (
    D_SAE,
    DEAD,
    DENSE,
    RANDOM,
    activations_of,
    corpus,
    latents_parts,
    tokens_parts,
)


@st.composite
def documents(draw: st.DrawFn) -> np.ndarray:
    """Rows of runs of documents, with gaps (-1)."""
    ctx_len, row_count = draw(st.integers(1, 24)), draw(st.integers(1, 6))
    sizes = draw(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=40, max_size=40))
    stream = [-1 if gap else i for i, (size, gap) in enumerate(sizes) for _ in range(size)]
    stream = (stream * (ctx_len * row_count // len(stream) + 1))[: ctx_len * row_count]
    return np.asarray(stream, np.int32).reshape(row_count, ctx_len)


def brute_windows(docs: np.ndarray, first_row: int, length: int) -> list[tuple[int, int, int]]:
    """Row, start and document of each window, token by token."""
    found = []
    for row, line in enumerate(docs):
        start = 0
        for position in range(1, len(line) + 1):
            if position == len(line) or line[position] != line[start]:
                if line[start] >= 0:
                    blocks = range(start, position - length + 1, length)
                    found += [(first_row + row, block, int(line[start])) for block in blocks]
                start = position
    return found


@given(documents(), st.integers(1, 10), st.integers(0, 3), st.integers(0, 6))
def test_the_grid_is_that_of_brute_force(docs: np.ndarray, length: int, first_row: int, train_rows: int) -> None:
    grid = WindowGrid.of([find_runs(docs, first_row, length)], length, docs.shape[1], train_rows)
    expected = brute_windows(docs, first_row, length)
    assert grid.window_count == len(expected)
    assert grid.train_window_count == sum(row < train_rows for row, *_ in expected)
    places = grid.places(np.arange(grid.window_count))
    assert list(zip(*(p.tolist() for p in places), strict=True)) == expected
    rows, positions = np.indices(docs.shape)
    located = grid.locate((first_row + rows).reshape(-1).astype(np.int32), positions.reshape(-1).astype(np.int32))
    owner = np.full(docs.shape, -1)
    for number, (row, start, _) in enumerate(expected):
        owner[row - first_row, start : start + length] = number
    np.testing.assert_array_equal(located.reshape(docs.shape), owner)


@given(documents(), st.integers(1, 8), st.integers(0, 2**32))
def test_activating_windows_are_those_of_brute_force(docs: np.ndarray, length: int, seed: int) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    dense = rng.random(docs.shape, np.float32) * (rng.random(docs.shape) < 0.2)
    rows, positions = np.nonzero(dense)
    grid = WindowGrid.of([find_runs(docs, 0, length)], length, docs.shape[1], len(docs))
    active = activating(
        grid, Entries(rows.astype(np.int32), positions.astype(np.int32), dense[rows, positions].astype(np.float32))
    )
    expected = [
        (number, dense[row, start : start + length])
        for number, (row, start, _) in enumerate(brute_windows(docs, 0, length))
        if dense[row, start : start + length].any()
    ]
    assert active.windows.tolist() == [number for number, _ in expected]
    for i, (_, values) in enumerate(expected):
        assert active.peaks[i] == np.float32(values.max())
        span = slice(active.first_entries[i], active.first_entries[i + 1])
        np.testing.assert_array_equal(active.offsets[span], np.flatnonzero(values))
        np.testing.assert_array_equal(active.activations[span], values[values > 0].astype(np.float32))


@pytest.fixture(scope="module")
def planted() -> tuple[WindowSource, np.ndarray, np.ndarray]:
    text = corpus(seed=5)
    dense = activations_of(text)
    source = WindowSource(MemoryArtifact(latents_parts(text, dense)), MemoryArtifact(tokens_parts(text)), 16)
    return source, dense, text.documents


def test_window_objects_hold_tokens_and_activations_of_their_place(
    planted: tuple[WindowSource, np.ndarray, np.ndarray],
) -> None:
    source, dense, docs = planted
    for latent in range(D_SAE):
        active = source.activating(latent)
        windows = source.show(active, np.arange(len(active))[::-1])
        train, test = source.window_counts(active)
        assert [w.split for w in windows] == ["test"] * test + ["train"] * train
        for window in windows:
            here = slice(window.start, window.start + 16)
            np.testing.assert_array_equal(window.activations, dense[window.row, here, latent])
            assert (docs[window.row, here] == window.document).all()
            assert window.max > 0


def test_no_document_has_windows_of_both_splits(planted: tuple[WindowSource, np.ndarray, np.ndarray]) -> None:
    source, *_ = planted
    active = source.activating(DENSE)
    windows = source.show(active, np.arange(len(active)))
    train = {w.document for w in windows if w.split == "train"}
    test = {w.document for w in windows if w.split == "test"}
    assert train
    assert test
    assert not train & test


@settings(deadline=None)
@given(st.sampled_from([0, RANDOM, DEAD]), st.sampled_from(["train", "test"]), st.integers(0, 400), st.integers(0, 50))
def test_silent_windows_are_distinct_silent_and_of_the_split(latent: int, split: str, count: int, seed: int) -> None:
    source, dense, _ = _planted()
    active = source.activating(latent)
    windows = source.silent(latent, active, count, split, seed)
    low, high = source.grid.bounds(split)
    firing = active.within((low, high))
    silent_count = high - low - (firing.stop - firing.start)
    assert len(windows) == min(count, silent_count)
    assert len({(w.row, w.start) for w in windows}) == len(windows)
    for window in windows:
        assert window.split == split
        assert not dense[window.row, window.start : window.start + 16, latent].any()
        assert not window.activations.any()


_CACHE: list[tuple[WindowSource, np.ndarray, np.ndarray]] = []


def _planted() -> tuple[WindowSource, np.ndarray, np.ndarray]:
    if not _CACHE:
        text = corpus(seed=5)
        dense = activations_of(text)
        source = WindowSource(MemoryArtifact(latents_parts(text, dense)), MemoryArtifact(tokens_parts(text)), 16)
        _CACHE.append((source, dense, text.documents))
    return _CACHE[0]


def test_two_latents_never_share_a_draw_and_a_draw_repeats(
    planted: tuple[WindowSource, np.ndarray, np.ndarray],
) -> None:
    source, *_ = planted
    dead = source.activating(DEAD)

    def places(latent: int, seed: int) -> list[tuple[int, int]]:
        return [(w.row, w.start) for w in source.silent(latent, dead, 20, "test", seed)]

    assert places(1, 0) == places(1, 0)
    assert places(1, 0) != places(2, 0)
    assert places(1, 0) != places(1, 1)


def test_a_dense_latent_has_no_silent_window(planted: tuple[WindowSource, np.ndarray, np.ndarray]) -> None:
    source, *_ = planted
    assert source.silent(DENSE, source.activating(DENSE), 10, "train", 0) == []


def test_silent_draws_are_uniform() -> None:
    docs = np.zeros((1, 40), np.int32)
    grid = WindowGrid.of([find_runs(docs, 0, 2)], 2, 40, 1)
    rows, positions = np.zeros(4, np.int32), np.asarray([0, 8, 9, 38], np.int32)
    active = activating(grid, Entries(rows, positions, np.ones(4, np.float32)))
    drawn = np.concatenate([draw_silent(grid, active, 5, seed, None) for seed in range(4000)])
    counts = np.bincount(drawn, minlength=20)
    assert set(np.flatnonzero(counts == 0)) == {0, 4, 19}
    expected = 4000 * 5 / 17
    assert np.abs(counts[counts > 0] - expected).max() < 6 * np.sqrt(expected)
