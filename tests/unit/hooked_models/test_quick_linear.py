"""Quick dense layers give what the model gave, and leave it the model it was."""

import copy

import pytest
import torch
from hooked_models.core.quick_linear import QuickConv1D, QuickLinear, quicken
from torch import Tensor, nn

from tests.support.tiny import CONFIGS, VOCAB, tiny_model

IDS = torch.randint(VOCAB, (3, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_quick_model_is_the_same_model(name: str) -> None:
    plain = tiny_model(name)
    model = quicken(copy.deepcopy(plain))
    seen: list[Tensor] = []
    layers = [module for module in model.modules() if isinstance(module, QuickLinear | QuickConv1D)]
    layers[0].register_forward_hook(lambda _module, _args, output: seen.append(output))
    with torch.inference_mode():
        right, found = plain(input_ids=IDS).logits, model(input_ids=IDS).logits
        again = copy.deepcopy(model)(input_ids=IDS).logits
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
    assert torch.equal(found, again)
    assert len(seen) == 2
    assert list(model.state_dict()) == list(plain.state_dict())
    assert str(model).replace("Quick", "") == str(plain)


def test_layers_that_are_more_than_dense_stay() -> None:
    class Scaled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    layers = quicken(nn.Sequential(Scaled(4, 4), nn.Linear(4, 4)))
    assert [type(layer) for layer in layers.children()] == [Scaled, QuickLinear]
