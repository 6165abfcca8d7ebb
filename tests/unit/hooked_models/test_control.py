"""The control variant: each occurrence of a token has noise of its own, the same in every batch."""

import numpy as np
import pytest
import torch
from hooked_models.core.control import Occurrences, occurrence_noise
from hooked_models.core.forward import run_batches
from hooked_models.core.hooks import Capture
from torch import nn

from tests.support.tiny import CONFIGS, tiny_model

CPU = torch.device("cpu")


def _embedded(rows: list[int], firsts: list[int] | None, count: int, seed: int = 3) -> torch.Tensor:
    """What a model's embedding gives for one token repeated, of rows from some positions on."""
    model = tiny_model("llama")
    with (
        Capture(model.model, ["embed_tokens"]) as capture,
        Occurrences(model.model.get_input_embeddings(), seed) as occurrences,
    ):
        occurrences.place(rows, firsts)
        return capture.run(torch.full((len(rows), count), 7))["embed_tokens"]


def test_two_occurrences_of_one_token_differ_and_none_is_its_embedding() -> None:
    found = _embedded([0, 1], None, 16).reshape(32, -1)
    assert len(torch.unique(found, dim=0)) == 32
    trained = tiny_model("llama").model.get_input_embeddings().weight[7]
    assert not torch.isclose(found, trained).all(1).any()


def test_an_occurrence_is_the_same_in_any_batch_and_in_any_cut_of_its_row() -> None:
    whole = _embedded([5, 9], None, 40)
    assert torch.equal(_embedded([9], None, 40)[0], whole[1])
    assert torch.equal(_embedded([9, 5], [13, 0], 10), torch.stack([whole[1, 13:23], whole[0, :10]]))
    assert not torch.equal(_embedded([5], None, 40, seed=4)[0], whole[0])


def test_noise_is_standard_normal() -> None:
    noise = np.stack([occurrence_noise(0, row, 0, 64, 33) for row in range(50)]).astype(np.float64)
    n = noise.size
    # Five standard errors; the fourth moment of a standard normal is 3, its variance 96.
    assert abs(noise.mean()) < 5 / n**0.5
    assert abs(noise.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((noise**4).mean() - 3) < 5 * (96 / n) ** 0.5
    flat = noise.reshape(50 * 64, 33)
    assert abs((flat[1:] * flat[:-1]).mean()) < 5 / n**0.5, "neighbours have nothing in common"


@pytest.mark.parametrize("name", list(CONFIGS))
def test_token_ids_have_no_way_into_the_model(name: str) -> None:
    model = tiny_model(name)
    generator = torch.Generator().manual_seed(0)
    found: list[torch.Tensor] = []
    with Occurrences(model.base_model.get_input_embeddings(), 1) as occurrences, torch.no_grad():
        for _ in range(2):
            occurrences.place([4, 5])
            ids = torch.randint(3, 300, (2, 12), generator=generator)
            found.append(model.base_model(input_ids=ids).last_hidden_state)
    assert torch.equal(found[0], found[1])


def test_batches_place_their_rows_by_themselves() -> None:
    model = tiny_model("llama")
    tokens, documents = np.full((5, 8), 9, np.int32), np.zeros((5, 8), np.int32)
    documents[:, 0] = -1
    with (
        Capture(model.model, ["embed_tokens"]) as capture,
        Occurrences(model.model.get_input_embeddings(), 3) as occurrences,
    ):
        found = torch.cat(
            [b.activations["embed_tokens"] for b in run_batches(capture, tokens, documents, 30, 2, CPU, occurrences)]
        )
    expected = np.concatenate([occurrence_noise(3, row, 1, 7, 32) for row in range(30, 35)])
    assert np.array_equal(found.numpy(), expected)


def test_a_pass_of_rows_that_were_not_placed_is_refused() -> None:
    with Occurrences(tiny_model("llama").model.get_input_embeddings(), 3) as occurrences:
        occurrences.place([1])
        with pytest.raises(ValueError, match="zip"):
            occurrences.place([1, 2], [0])
    model = tiny_model("llama")
    with Occurrences(model.model.get_input_embeddings(), 3), pytest.raises(RuntimeError, match="call place"):
        model.model(input_ids=torch.full((2, 4), 5))


def test_without_an_embedding_nothing_is_replaced_and_nothing_is_left_behind() -> None:
    model = tiny_model("llama")
    embedding: nn.Module = model.model.get_input_embeddings()
    ids = torch.full((2, 4), 5)
    before = embedding(ids)
    with Occurrences(None) as none:
        none.place([1, 2])
        assert torch.equal(embedding(ids), before)
    with Occurrences(embedding, 3) as occurrences:
        occurrences.place([1, 2])
        assert not torch.equal(embedding(ids), before)
    assert torch.equal(embedding(ids), before)
