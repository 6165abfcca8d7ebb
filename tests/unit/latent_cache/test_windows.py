"""Windows against brute force."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from latent_cache import Entries
from latent_cache.windows import find_runs

from tests.support.window_grid import WindowGrid, activating


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
