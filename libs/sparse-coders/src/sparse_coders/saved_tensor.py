"""A tensor of a saved training state, checked."""

from collections.abc import Mapping

from torch import Tensor

from sparse_coders.errors import MalformedCoder


def saved_tensor(state: Mapping[str, Tensor], name: str, reference: Tensor) -> Tensor:
    """Returns a copy in memory of its own: mapped files are aligned otherwise, and then sums may round otherwise.

    Raises:
        MalformedCoder: it is missing or not of the reference's shape.
    """
    if name not in state or state[name].shape != reference.shape:
        found = list(state[name].shape) if name in state else "nothing"
        raise MalformedCoder(f"training state: {name} is {found}; expected {list(reference.shape)}")
    return state[name].to(reference.device, reference.dtype, copy=True)
