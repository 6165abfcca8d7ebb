"""The order of tokens: every token once an epoch, bounded windows, any position computable."""

import numpy as np
import pytest
from sae_trainer.core.token_order import TokenOrder


def tokens_of_epoch(order: TokenOrder, epoch: int) -> list[int]:
    """Global numbers of the tokens in the order of training."""
    starts = np.concatenate([[0], np.cumsum(order.shard_sizes)])
    seen: list[int] = []
    position = epoch * order.epoch_tokens
    while position < (epoch + 1) * order.epoch_tokens:
        window = order.window_at(position)
        assert window.first == position
        places = np.concatenate([np.arange(starts[p.shard] + p.start, starts[p.shard] + p.stop) for p in window.pieces])
        seen.extend(places[window.permutation].tolist())
        position += window.token_count
    return seen


@pytest.mark.parametrize("capacity", [1, 7, 64, 100, 299, 300, 10_000])
def test_each_epoch_has_each_token_once(capacity: int) -> None:
    order = TokenOrder((100, 1, 59, 140), capacity, seed=3)
    first, second = tokens_of_epoch(order, 0), tokens_of_epoch(order, 1)
    assert sorted(first) == sorted(second) == list(range(300))
    assert first != second
    assert first == tokens_of_epoch(TokenOrder((100, 1, 59, 140), capacity, seed=3), 0)
    assert first != tokens_of_epoch(TokenOrder((100, 1, 59, 140), capacity, seed=4), 0) or capacity == 1


@pytest.mark.parametrize("capacity", [1, 7, 64, 100])
def test_windows_stay_within_the_buffer(capacity: int) -> None:
    order = TokenOrder((100, 1, 59, 140), capacity, seed=0)
    for position in range(600):
        window = order.window_at(position)
        assert window.first <= position < window.first + window.token_count
        assert window.token_count <= order.window_tokens == max(1, capacity // 2)


def test_a_window_mixes_shards_far_apart() -> None:
    order = TokenOrder((100,) * 20, 500, seed=0)
    assert len({piece.shard for piece in order.window_at(0).pieces}) >= 5


def test_all_in_one_window_when_it_fits() -> None:
    order = TokenOrder((100,) * 20, 2000, seed=0)
    assert order.window_at(0).pieces == order.window_at(5999).pieces
    assert order.window_at(0).token_count == 2000
    assert not np.array_equal(order.window_at(0).permutation, order.window_at(2000).permutation)
