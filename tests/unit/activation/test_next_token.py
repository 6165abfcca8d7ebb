"""KL, the tokens that moved, and sampling with common random numbers."""

import numpy as np
import pytest
import torch
from activation.core.next_token import Sampler, kl_divergence, movers


def test_kl_is_that_of_the_definition_and_0_of_the_same() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.5, 0.25]])
    assert kl_divergence(p.log(), q.log()).item() == pytest.approx(0.25 * np.log(2), rel=1e-6)
    logits = torch.randn(4, 1000).log_softmax(-1)
    assert kl_divergence(logits, logits).tolist() == [0, 0, 0, 0]
    gone = torch.tensor([[1.0, 0.0]]).log()
    assert kl_divergence(gone, torch.tensor([[0.5, 0.5]]).log()).item() == pytest.approx(np.log(2))


def test_movers_are_sorted_by_log_probability_and_ties_by_token() -> None:
    raised, lowered = movers(torch.tensor([0.0, 2.0, -1.0, 2.0]), torch.tensor([5.0, 6.0, 7.0, 8.0]), 3)
    assert raised.tokens == [1, 3, 0]
    assert raised.logit_changes == [6, 8, 5]
    assert lowered.tokens == [2, 0, 1]
    assert lowered.log_prob_changes == [-1, 0, 2]


def test_samples_follow_the_distribution() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(4000, 3)
    drawn = Sampler([(i,) for i in range(4000)], 0, 1.0).draw(logits)
    np.testing.assert_allclose(np.bincount(drawn.numpy()) / 4000, [0.5, 0.3, 0.2], atol=0.03)
    assert set(Sampler([(1,)], 0, 0.0).draw(logits[:1]).tolist()) == {0}


def test_the_same_key_draws_with_the_same_numbers_in_any_batch() -> None:
    logits = torch.randn(5, 100)
    keys = [(7, i) for i in range(5)]
    together = Sampler(keys, 3, 1.0).draw(logits)
    alone = [Sampler([key], 3, 1.0).draw(logits[[i]]).item() for i, key in enumerate(keys)]
    assert together.tolist() == alone
    near = Sampler(keys, 3, 1.0).draw(logits + 1e-6)
    assert near.tolist() == alone
    others = [Sampler(keys, seed, 1.0).draw(logits).tolist() for seed in range(10, 14)]
    assert any(other != alone for other in others)
