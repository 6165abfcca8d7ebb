"""Training by two processes that torchrun's launcher starts: a state taken up, and a rank that is killed.

A whole run of theirs is in test_streamed.py.
"""

import multiprocessing

import pytest
import torch
from dragoman.errors import SystemTaskError
from sae_trainer.distributed import DistributedTrainer
from sae_trainer.distributed_rank import Sharing
from sae_trainer.spec import CoderSpec
from sparse_coders import CoderTrainer

from tests.unit.sparse_coders.test_coder_trainer import X, made, options_of

SMALL = {"d_sae": 96, "k": 3, "batch_tokens": 128, "learning_rate": 3e-3}


def test_a_state_is_taken_up_and_a_rank_that_dies_fails_the_task() -> None:
    options, batches = options_of("batch_topk"), list(X.split(100))
    plain = CoderTrainer(made("batch_topk"), options)
    for batch in batches[:5]:
        plain.step(batch, batch, 3e-3)
    with DistributedTrainer(made("batch_topk", seed=9), options, Sharing(2, "data", 100, "cpu", 1)) as trainer:
        trainer.load_state(plain.state())
        for batch in batches[5:]:
            report, expected = trainer.step(batch, batch, 3e-3), plain.step(batch, batch, 3e-3)
            assert report.loss == pytest.approx(expected.loss, rel=1e-4)
        for name, value in plain.state().items():
            torch.testing.assert_close(trainer.state()[name], value, rtol=1e-3, atol=1e-4)
        multiprocessing.active_children()[0].kill()
        with pytest.raises(SystemTaskError, match=r"one of 2 training processes died; rank \d: Signal 9 \(SIGKILL\)"):
            trainer.step(batches[0], batches[0], 3e-3)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ranks": 3}, "ranks is 3, which does not divide batch_tokens 128"),
        ({"ranks": 5, "parallel": "latents"}, "ranks is 5, which does not divide d_sae 96"),
        ({"ranks": 48, "parallel": "latents"}, "ranks is 48: each has 2 latents, fewer than the 3 that fire"),
        ({"ranks": 2, "parallel": "latents", "optimiser": "muon"}, "muon orthogonalises whole matrices"),
    ],
)
def test_what_cannot_be_divided_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoderSpec.model_validate({"activations_id": "activations-" + "0" * 32, **SMALL, **fields})
