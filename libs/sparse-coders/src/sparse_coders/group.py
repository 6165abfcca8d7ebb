"""Processes that work on one step together, and what they tell each other.

All of them call the same methods in the same order. One process alone is a group too, in which nothing is told.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributed import AllreduceOptions, ProcessGroup, ReduceOp


class Group:
    """Sums, gathers and choices over the processes of a `torch.distributed` group."""

    def __init__(self, processes: ProcessGroup | None = None) -> None:
        """Takes an open group; None: this process is alone."""
        self._processes = processes
        self.rank = 0 if processes is None else processes.rank()
        self.size = 1 if processes is None else processes.size()

    def rows(self, n: int) -> slice:
        """Returns which of n rows are this process's; n is a multiple of the size."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over the processes, in place, and returns it."""
        return self._reduce(tensor, ReduceOp.SUM)

    def least_(self, tensor: Tensor) -> Tensor:
        """Takes the least over the processes, in place, and returns it."""
        return self._reduce(tensor, ReduceOp.MIN)

    def counts(self, own: int, device: torch.device) -> list[int]:
        """Returns a number of each process."""
        return [int(count) for count in self.gathered(torch.tensor(own, device=device))]

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Returns the tensors of all processes, which are of one shape."""
        if self._processes is None:
            return [tensor]
        every = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.size)]
        self._processes.allgather([every], [tensor.contiguous()]).wait()
        return every

    def strongest(self, values: Float[Tensor, "*rows width"], count: int) -> Bool[Tensor, "*rows width"]:
        """Returns which of this process's values are among the `count` largest of a row over all processes.

        Args:
            values: As many rows in every process; the width may differ.
            count: Of equal values at the last place, those of the first processes are taken.
        """
        if self._processes is None:
            return torch.ones_like(values, dtype=torch.bool)
        own = values.shape[-1]
        width = max(self.counts(own, values.device))
        every = torch.cat(self.gathered(F.pad(values, (0, width - own), value=-torch.inf)), -1)
        places = every.sort(dim=-1, descending=True, stable=True).indices[..., :count]
        chosen = torch.zeros_like(every, dtype=torch.bool).scatter_(-1, places, True)
        return chosen[..., self.rank * width : self.rank * width + own]

    def summed(self, part: Tensor) -> Tensor:
        """Returns the sum over the processes; its derivative, which all of them have, is each part's."""
        return part if self._processes is None else _Summed.apply(part, self)  # pyright: ignore[reportReturnType]

    def shared(self, whole: Tensor) -> Tensor:
        """Returns a tensor that all processes have, of whose derivative each finds a part: they are summed."""
        return whole if self._processes is None else _Shared.apply(whole, self)  # pyright: ignore[reportReturnType]

    def _reduce(self, tensor: Tensor, operation: Any) -> Tensor:
        if self._processes is not None:
            options = AllreduceOptions()
            options.reduceOp = operation
            self._processes.allreduce([tensor], options).wait()
        return tensor


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Group) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return group.sum_(part.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, group: Group) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.group = group
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.group.sum_(gradient.clone(memory_format=torch.contiguous_format)), None
