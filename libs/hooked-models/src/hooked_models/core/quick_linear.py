"""A model's dense layers, multiplied by `dense_products.linear`: same weights, same results but for rounding."""

from dense_products import linear
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class QuickLinear(nn.Linear):
    """`nn.Linear`; what a module becomes, so that its weights, names and hooks stay."""

    def forward(self, input: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        """Returns x W^T + b."""
        return linear(input, self.weight, self.bias)


class QuickConv1D(Conv1D):
    """GPT-2's dense layer, which keeps its weights transposed."""

    def forward(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        """Returns x W + b."""
        return linear(x, self.weight.T, self.bias)


def quicken(model: nn.Module) -> nn.Module:
    """Gives a model's dense layers their quick forms, in place; layers that are more than dense layers stay."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = QuickLinear
        elif type(module) is Conv1D:
            module.__class__ = QuickConv1D
    return model
