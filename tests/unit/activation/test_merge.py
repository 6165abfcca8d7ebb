"""The merge of encoded parts, and what is counted while entries pass by, against dense computations."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from activation.core.fired_windows import FiredWindows, fired_windows
from activation.core.merge import LatentEntries, PartSlice, latent_chunks, merge, whole_rows
from activation.core.range_measures import MeasureSettings, RangeMeasures, window_activations
from hypothesis import given
from hypothesis import strategies as st

D_SAE, ROWS, POS, K, LENGTH = 13, 12, 16, 3, 4
TRAIN_ROWS = 8
POOL = np.asarray([0, 20, 40, 128, 180])


def _dense(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations [row, pos, latent] with at most K above 0 a token, and token ids [row, pos]."""
    generator = np.random.default_rng(seed)
    acts = generator.standard_normal((ROWS, POS, D_SAE)).astype(np.float32)
    cut = np.sort(acts, axis=-1)[..., -K][..., None]
    acts = np.where((acts >= cut) & (acts > 0.3), acts, 0).astype(np.float32)
    acts[..., 5] = 0  # a dead latent
    return acts, generator.integers(0, 7, (ROWS, POS)).astype(np.int32)


def _slice(acts: np.ndarray, tokens: np.ndarray, first: int, end: int) -> PartSlice:
    latent, row, position = np.nonzero(acts[first:end].transpose(2, 0, 1))
    values = acts[first + row, position, latent].view(np.int32)
    starts = position // LENGTH * LENGTH
    starts[starts == 2 * LENGTH] = -1  # one block of each row is in no window
    following = np.append(tokens, np.full((ROWS, 1), -1, np.int32), 1)[first + row, position + 1]
    columns = [row * POS + position, values, tokens[first + row, position], following, starts]
    counts = np.bincount(latent, minlength=acts.shape[-1])
    return PartSlice(first * POS, counts, np.stack(columns, 1).astype(np.int32))


def _merged(acts: np.ndarray, tokens: np.ndarray, cuts: list[int]) -> LatentEntries:
    edges = [0, *cuts, ROWS]
    return merge([_slice(acts, tokens, a, b) for a, b in pairwise(edges)], acts.shape[-1])


def _settings(top: int = 3, per_decile: int = 1) -> MeasureSettings:
    return MeasureSettings(POS, TRAIN_ROWS * POS, np.full(POS, ROWS, np.int64), POOL, top, per_decile, 7)


def _measured(blocks: list[LatentEntries], count: int, top: int = 3, per_decile: int = 1) -> RangeMeasures:
    measures = RangeMeasures(0, count, _settings(top, per_decile))
    for block in blocks:
        measures.measure(block)
    for block in blocks:
        measures.choose(block)
    return measures


@pytest.mark.parametrize("cuts", [[], [5], [1, 2, 9]])
def test_merged_entries_are_those_of_the_dense_activations(cuts: list[int]) -> None:
    acts, tokens = _dense(1)
    merged = _merged(acts, tokens, cuts)
    for latent in range(D_SAE):
        mine = slice(int(merged.offsets[latent]), int(merged.offsets[latent + 1]))
        rows, positions = np.nonzero(acts[:, :, latent])
        assert merged.places[mine].tolist() == (rows * POS + positions).tolist()
        assert merged.activations[mine].tolist() == acts[rows, positions, latent].tolist()
        assert merged.tokens[mine].tolist() == tokens[rows, positions].tolist()


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_one_latent_in_blocks_of_whole_rows_is_the_latent(size: int) -> None:
    acts, tokens = _dense(1)
    acts = acts[..., 2:3]
    whole = _merged(acts, tokens, [])

    def pieces() -> Iterator[LatentEntries]:
        for first, end in pairwise([*range(0, len(whole), 2), len(whole)]):
            yield whole.chosen((np.arange(len(whole)) >= first) & (np.arange(len(whole)) < end))

    blocks = list(whole_rows(pieces(), POS, size))
    assert (len(blocks) > 1) == (size < 1000)
    assert np.concatenate([b.places for b in blocks]).tolist() == whole.places.tolist()
    assert all(a.places[-1] // POS < b.places[0] // POS for a, b in pairwise(blocks))
    assert all(len(b) <= size + POS + 2 for b in blocks)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 50), st.integers(1, 9))
def test_chunks_cover_all_latents_and_stay_small(counts: list[int], entries: int, latents: int) -> None:
    chunks = latent_chunks(np.asarray(counts, np.int64), entries, latents)
    assert [latent for a, b in chunks for latent in range(a, b)] == list(range(len(counts)))
    assert all(b - a <= latents for a, b in chunks)
    assert all(sum(counts[a:b]) <= entries or b - a == 1 for a, b in chunks)


def test_statistics_are_those_of_the_dense_activations() -> None:
    acts, tokens = _dense(2)
    found = _measured([_merged(acts, tokens, [4])], D_SAE).statistics()
    for latent in range(D_SAE):
        of_latent = acts[:, :, latent].astype(np.float64)
        active = of_latent[of_latent > 0]
        assert found["firing_count"][latent] == len(active)
        assert found["firing_count_train"][latent] == (of_latent[:TRAIN_ROWS] > 0).sum()
        assert found["firing_count_test"][latent] == (of_latent[TRAIN_ROWS:] > 0).sum()
        assert found["positions"][latent].tolist() == (of_latent > 0).sum(0).tolist()
        assert found["density"][latent] == pytest.approx(len(active) / (ROWS * POS))
        assert found["max_position_density"][latent] == pytest.approx((of_latent > 0).mean(0).max())
        if not len(active):
            assert not any(values[latent].any() for name, values in found.items())
            continue
        assert found["max_activation"][latent] == np.float32(active.max())
        assert found["mean_activation"][latent] == pytest.approx(active.mean(), rel=1e-6)
        assert found["mean_square"][latent] == pytest.approx((active**2).mean(), rel=1e-6)
        lower = np.quantile(active, np.linspace(0, 1, 11), method="lower")
        np.testing.assert_allclose(found["quantiles"][latent], lower, rtol=0.01)
        weights = np.bincount(tokens[of_latent > 0], active)
        shares = weights[weights > 0] / weights.sum()
        assert found["token_entropy"][latent] == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-6)
        assert found["distinct_token_count"][latent] == (weights > 0).sum()
        strong = set(tokens[of_latent >= lower[2]].tolist())
        assert found["unigram_token_count"][latent] == pytest.approx(len(strong), abs=1)


def test_blocks_measure_what_one_block_measures() -> None:
    acts, tokens = _dense(2)
    acts = acts[..., 3:4]
    whole = _merged(acts, tokens, [])
    blocks = [
        whole.chosen((whole.places // POS >= a) & (whole.places // POS < b)) for a, b in ((0, 3), (3, 9), (9, 12))
    ]
    one, several = _measured([whole], 1), _measured(blocks, 1)
    for name, values in one.statistics().items():
        np.testing.assert_allclose(several.statistics()[name], values, rtol=1e-6, err_msg=name)
    strongest = [m.kept().windows.places[m.kept().top].tolist() for m in (one, several)]
    assert strongest[0] == strongest[1]
    assert np.abs(one.kept().deciles - several.kept().deciles).max() <= 1
    assert np.array_equal(one.pool_firing()[1], several.pool_firing()[1])
    assert one.tokens.following(3).tokens.tolist() == several.tokens.following(3).tokens.tolist()


def _entries(places: list[int], tokens: list[int], values: list[float] | None = None) -> LatentEntries:
    acts = np.asarray(values or [2.0] * len(places), np.float32)
    empty = np.full(len(places), -1, np.int32)
    offsets = np.asarray([0, len(places)])
    return LatentEntries(offsets, np.asarray(places, np.int64), acts, np.asarray(tokens, np.int32), empty, empty)


def test_entropy_of_one_token_is_zero_and_of_n_equal_ones_log_n() -> None:
    assert _measured([_entries([0, 1, 2, 3], [4] * 4)], 1).statistics()["token_entropy"].tolist() == [0.0]
    uniform = _measured([_entries([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])], 1).statistics()
    assert uniform["token_entropy"].tolist() == [pytest.approx(np.log(5), abs=1e-6)]


def test_information_of_a_latent_that_fires_at_one_position_only_and_of_one_that_fires_anywhere() -> None:
    at_one = _measured([_entries([r * POS + 5 for r in range(ROWS)], [1] * ROWS)], 1).statistics()
    expected = (np.log(POS) + (POS - 1) * np.log(POS / (POS - 1))) / POS
    assert at_one["positional_information"].tolist() == [pytest.approx(expected, rel=1e-6)]
    assert at_one["max_position_density"].tolist() == [1.0]
    evenly = _measured([_entries([3 * POS + p for p in range(POS)], [1] * POS)], 1).statistics()
    assert evenly["positional_information"].tolist() == [pytest.approx(0.0, abs=1e-9)]


def test_weak_firings_on_other_tokens_do_not_count_for_the_unigram_filter() -> None:
    strong, weak = [5.0] * 90, [0.01] * 10
    found = _measured([_entries(list(range(100)), [3] * 90 + list(range(10, 20)), strong + weak)], 1).statistics()
    assert (found["unigram_token_count"].tolist(), found["distinct_token_count"].tolist()) == ([1], [11])


def test_tables_of_tokens_are_by_falling_weight() -> None:
    acts, tokens = _dense(6)
    table = _measured([_merged(acts, tokens, [])], D_SAE).tokens.following(3)
    following = np.append(tokens, np.full((ROWS, 1), -1, np.int32), 1)[:, 1:]
    for latent in range(D_SAE):
        mine = table.latents == latent
        here = (acts[:, :, latent] > 0) & (following >= 0)
        weights = np.bincount(following[here], acts[here, latent], 8)
        best = np.argsort(-weights, kind="stable")[: min(3, (weights > 0).sum())]
        assert table.tokens[mine].tolist() == best.tolist()
        assert table.weights[mine].tolist() == pytest.approx(weights[best].tolist())
        assert table.counts[mine].tolist() == np.bincount(following[here], minlength=8)[best].tolist()


def _windows_of(acts: np.ndarray, latent: int) -> np.ndarray:
    windows = acts[:, :, latent].reshape(ROWS, POS // LENGTH, LENGTH).copy()
    windows[:, 2] = 0
    return windows


def test_kept_windows_are_the_strongest_of_each_split_and_one_of_each_decile() -> None:
    acts, tokens = _dense(3)
    block = _merged(acts, tokens, [7])
    measures = _measured([block], D_SAE)
    kept, statistics = measures.kept(), measures.statistics()
    for latent in range(D_SAE):
        peaks = _windows_of(acts, latent).max(-1)
        for split, rows in enumerate((slice(0, TRAIN_ROWS), slice(TRAIN_ROWS, ROWS))):
            fired = np.sort(peaks[rows][peaks[rows] > 0])[::-1]
            mine = (kept.windows.latents == latent) & (kept.windows.test == bool(split))
            assert np.sort(kept.windows.peaks[mine & kept.top])[::-1].tolist() == fired[:3].tolist()
            assert statistics[("window_count_train", "window_count_test")[split]][latent] == len(fired)
            deciles = kept.deciles[mine & kept.sampled]
            assert len(np.unique(deciles)) == len(deciles) == min(len(fired), 10)
            rising = np.sort(fired)
            exact = [np.searchsorted(rising, p) * 10 // len(fired) for p in kept.windows.peaks[mine]]
            assert kept.deciles[mine].tolist() == exact
    found = window_activations(block, kept.windows, POS)
    at = 0
    for latent, place, count in zip(kept.windows.latents, kept.windows.places, found.counts, strict=True):
        dense = np.zeros(LENGTH, np.float32)
        dense[found.offsets[at : at + count]] = found.activations[at : at + count]
        assert dense.tolist() == acts.reshape(-1, D_SAE)[place : place + LENGTH, latent].tolist()
        at += count
    assert at == len(found.activations)


def test_pool_windows_in_which_a_latent_fires_are_those_of_the_dense_activations() -> None:
    acts, tokens = _dense(3)
    latents, numbers = _measured([_merged(acts, tokens, [])], D_SAE).pool_firing()
    expected = [
        (latent, number)
        for latent in range(D_SAE)
        for number, place in enumerate(POOL)
        if _windows_of(acts, latent)[place // POS, place % POS // LENGTH].any()
    ]
    assert list(zip(latents.tolist(), numbers.tolist(), strict=True)) == expected


def test_no_windows_are_kept_when_none_are_asked_for() -> None:
    acts, tokens = _dense(3)
    assert len(_measured([_merged(acts, tokens, [])], D_SAE, top=0, per_decile=0).kept().windows) == 0


def test_no_entries_give_no_window() -> None:
    assert len(fired_windows(_entries([], []), POS, 8)) == len(FiredWindows.none()) == 0
    assert not any(v.any() for v in _measured([_entries([], [])], 1).statistics().values())
