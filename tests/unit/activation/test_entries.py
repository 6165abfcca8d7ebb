"""From token order to latent order, against a dense computation of everything."""

from itertools import pairwise

import numpy as np
import pytest
from activation.core.entries import (
    EncodedEntries,
    FoundActivations,
    TaskEntries,
    latent_chunks,
    merge,
    place_table,
)
from activation.core.latent_statistics import latent_statistics
from activation.core.top_windows import top_windows
from hypothesis import given
from hypothesis import strategies as st

D_SAE, ROWS, POS, K, LENGTH = 13, 12, 16, 3, 4
TRAIN_ROWS = 8


def _dense(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations [row, pos, latent] with at most K above 0 a token, and token ids [row, pos]."""
    generator = np.random.default_rng(seed)
    acts = generator.standard_normal((ROWS, POS, D_SAE)).astype(np.float32)
    cut = np.sort(acts, axis=-1)[..., -K][..., None]
    acts = np.where((acts >= cut) & (acts > 0.3), acts, 0).astype(np.float32)
    acts[..., 5] = 0  # a dead latent
    return acts, generator.integers(0, 7, (ROWS, POS)).astype(np.int32)


def _task(acts: np.ndarray, tokens: np.ndarray, first: int, end: int) -> TaskEntries:
    latent, row, position = (a.astype(np.int32) for a in np.nonzero(acts[first:end].transpose(2, 0, 1)))
    values = acts[first + row, position, latent].view(np.int32)
    starts = position // LENGTH * LENGTH
    starts[starts == 2 * LENGTH] = -1  # one block of each row is in no window
    columns = [row + first, position, values, tokens[first + row, position], starts]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(latent, minlength=D_SAE))])
    return TaskEntries(offsets, np.stack(columns, 1).astype(np.int32))


def _merged(acts: np.ndarray, tokens: np.ndarray, cuts: list[int]) -> TaskEntries:
    edges = [0, *cuts, ROWS]
    return merge([_task(acts, tokens, a, b) for a, b in pairwise(edges)])


@pytest.mark.parametrize("cuts", [[], [5], [1, 2, 9]])
def test_merged_entries_are_those_of_the_dense_activations(cuts: list[int]) -> None:
    acts, tokens = _dense(1)
    merged = _merged(acts, tokens, cuts)
    for latent in range(D_SAE):
        mine = merged.entries[merged.offsets[latent] : merged.offsets[latent + 1]]
        rows, positions = np.nonzero(acts[:, :, latent])
        assert mine[:, 0].tolist() == rows.tolist()
        assert mine[:, 1].tolist() == positions.tolist()
        assert mine[:, 2].copy().view(np.float32).tolist() == acts[rows, positions, latent].tolist()
        assert mine[:, 3].tolist() == tokens[rows, positions].tolist()


def test_statistics_are_those_of_the_dense_activations() -> None:
    acts, tokens = _dense(2)
    found = latent_statistics(_merged(acts, tokens, [4]), TRAIN_ROWS)
    for latent in range(D_SAE):
        of_latent = acts[:, :, latent].astype(np.float64)
        active = of_latent[of_latent > 0]
        assert found.firing_count[latent] == len(active)
        assert found.firing_count_train[latent] == (of_latent[:TRAIN_ROWS] > 0).sum()
        assert found.firing_count_test[latent] == (of_latent[TRAIN_ROWS:] > 0).sum()
        if not len(active):
            assert found.max_activation[latent] == found.token_entropy[latent] == 0
            assert not found.quantiles[latent].any()
            continue
        assert found.max_activation[latent] == np.float32(active.max())
        assert found.mean_activation[latent] == pytest.approx(active.mean(), rel=1e-6)
        assert found.mean_square[latent] == pytest.approx((active**2).mean(), rel=1e-6)
        np.testing.assert_allclose(found.quantiles[latent], np.quantile(active, np.linspace(0, 1, 11)), rtol=1e-6)
        weights = np.bincount(tokens[of_latent > 0], active)
        shares = weights[weights > 0] / weights.sum()
        assert found.token_entropy[latent] == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-6)


def test_entropy_of_one_token_is_zero_and_of_n_equal_ones_log_n() -> None:
    entries = np.zeros((9, 5), np.int32)
    entries[:, 0] = np.arange(9)
    entries[:, 2] = np.float32(2.0).view(np.int32)
    entries[:, 3] = [4, 4, 4, 4, 0, 1, 2, 3, 4]
    found = latent_statistics(TaskEntries(np.asarray([0, 4, 9]), entries), 100)
    assert found.token_entropy.tolist() == [0.0, pytest.approx(np.log(5), abs=1e-6)]


def test_top_windows_are_the_strongest_of_the_dense_activations() -> None:
    acts, tokens = _dense(3)
    top, counts = top_windows(_merged(acts, tokens, [7]), 3, LENGTH, TRAIN_ROWS)
    for latent in range(D_SAE):
        windows = acts[:, :, latent].reshape(ROWS, POS // LENGTH, LENGTH)
        peaks = windows.max(-1)
        peaks[:, 2] = 0
        best = sorted(((-peaks[r, b], r, b * LENGTH) for r, b in zip(*np.nonzero(peaks), strict=True)))[:3]
        mine = top.latents == latent
        assert list(zip(-top.peaks[mine], top.rows[mine], top.starts[mine], strict=True)) == best
        assert top.ranks[mine].tolist() == list(range(len(best)))
        for row, start, dense in zip(top.rows[mine], top.starts[mine], top.activations[mine], strict=True):
            assert dense.tolist() == acts[row, start : start + LENGTH, latent].tolist()
        assert counts[latent].tolist() == [(peaks[:TRAIN_ROWS] > 0).sum(), (peaks[TRAIN_ROWS:] > 0).sum()]


def test_no_windows_are_kept_when_none_are_asked_for() -> None:
    acts, tokens = _dense(3)
    assert len(top_windows(_merged(acts, tokens, []), 0, LENGTH, TRAIN_ROWS)[0]) == 0


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 50), st.integers(1, 9))
def test_chunks_cover_all_latents_and_stay_small(counts: list[int], entries: int, latents: int) -> None:
    chunks = latent_chunks(np.asarray(counts, np.int64), entries, latents)
    assert [latent for a, b in chunks for latent in range(a, b)] == list(range(len(counts)))
    assert all(b - a <= latents for a, b in chunks)
    assert all(sum(counts[a:b]) <= entries or b - a == 1 for a, b in chunks)


def _documents() -> np.ndarray:
    """Documents [row, pos]: rows of one document, of three, with a BOS, with padding."""
    documents = np.full((ROWS, POS), 0, np.int32)
    documents[1] = [1] * 5 + [2] * 4 + [3] * 7
    documents[2, 0] = -1
    documents[3, 9:] = -1
    return documents


@pytest.mark.parametrize("batch", [1, 7, ROWS * POS])
def test_encoded_entries_are_those_of_the_dense_activations_in_any_batches(batch: int) -> None:
    acts, tokens = _dense(4)
    documents = _documents()
    counted = np.flatnonzero(documents.reshape(-1) >= 0)
    flat = acts.reshape(-1, D_SAE)[counted]
    indices = np.argsort(-flat, axis=1, kind="stable")[:, :K]
    found = FoundActivations()
    for at in range(0, len(counted), batch):
        here = slice(at, at + batch)
        found.add(np.take_along_axis(flat[here], indices[here], 1), indices[here], counted[here].astype(np.int32))
    encoded = found.by_latent(place_table(tokens, documents, LENGTH), D_SAE)
    for latent in range(D_SAE):
        mine = encoded.entries[encoded.offsets[latent] : encoded.offsets[latent + 1]]
        rows, positions = np.nonzero((acts[:, :, latent] > 0) & (documents >= 0))
        assert mine[:, 0].tolist() == (rows * POS + positions).tolist()
        fires = slice(int(encoded.offsets[latent]), int(encoded.offsets[latent + 1]))
        assert encoded.activations[fires].tolist() == acts[rows, positions, latent].tolist()
        assert mine[:, 2].tolist() == tokens[rows, positions].tolist()
    assert len(encoded) == ((acts > 0) & (documents >= 0)[..., None]).sum() > 0
    assert encoded.entries.nbytes == 20 * len(encoded)


def test_a_place_knows_the_next_token_of_its_document_and_its_window() -> None:
    tokens = np.arange(ROWS * POS, dtype=np.int32).reshape(ROWS, POS)
    documents = _documents()
    table = place_table(tokens, documents, LENGTH).reshape(ROWS, POS, 3)
    assert (table[..., 0] == tokens).all()
    assert table[0, :, 1].tolist() == [*range(1, POS), -1]
    assert np.flatnonzero(table[1, :, 1] < 0).tolist() == [4, 8, 15]
    assert np.flatnonzero(table[3, :, 1] < 0).tolist() == [*range(8, POS)]
    assert table[1, :, 2].tolist() == [0] * 4 + [-1] + [5] * 4 + [9] * 4 + [-1] * 3
    assert table[2, :, 1].tolist()[:2] == [-1, 34]
    assert table[2, :, 2].tolist() == [-1] + [1] * 4 + [5] * 4 + [9] * 4 + [-1] * 3
    assert table[3, :, 2].tolist() == [0] * 4 + [4] * 4 + [-1] * 8


def test_nothing_found_is_an_empty_list_for_every_latent() -> None:
    encoded = FoundActivations().by_latent(place_table(np.zeros((1, 4), np.int32), np.zeros((1, 4), np.int32), 4), 3)
    assert isinstance(encoded, EncodedEntries)
    assert encoded.offsets.tolist() == [0, 0, 0, 0]
    assert encoded.entries.shape == (0, 5)
