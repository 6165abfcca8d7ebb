"""The `control` of Heap et al. 2501.17727, section 2: fresh Gaussian noise for each occurrence of a token."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from dragoman.ids import derived_seed
from jaxtyping import Float32
from torch import Tensor, nn


def occurrence_noise(seed: int, row: int, first: int, count: int, width: int) -> Float32[np.ndarray, "count width"]:
    """Returns standard normal vectors for the positions `first` to `first + count` of a token row.

    A row has one stream, drawn from its position 0 on, so that an occurrence has the same vector in every batch, in
    every window that holds it and on every worker.
    """
    generator = np.random.Generator(np.random.Philox(derived_seed("control", seed, row)))
    return generator.standard_normal((first + count, width), dtype=np.float32)[first:]


class Occurrences:
    """Puts noise in the place of what a model's token embedding gives, while the context is open.

    Without an embedding nothing is replaced, so that callers need not know whether the model is a control.
    """

    def __init__(self, embedding: nn.Module | None, seed: int = 0) -> None:
        self._embedding = embedding
        self._seed = seed
        self._places: list[tuple[int, int]] = []
        self._handle: Any = None

    def __enter__(self) -> Self:
        if self._embedding is not None:
            # Before all other hooks, so that one that reads the embedding reads the noise.
            self._handle = self._embedding.register_forward_hook(self._replace, prepend=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def place(self, rows: Sequence[int], first_positions: Sequence[int] | None = None) -> None:
        """Says which token rows the passes from now on hold: one for each line of the batch.

        `first_positions`: position in its row of each line's first token; 0 without.
        """
        starts = first_positions if first_positions is not None else [0] * len(rows)
        self._places = [(int(row), int(first)) for row, first in zip(rows, starts, strict=True)]

    def _replace(self, module: nn.Module, args: Any, output: Tensor) -> Float32[Tensor, "batch pos d"]:
        batch, pos, width = output.shape
        if batch != len(self._places):
            raise RuntimeError(f"a batch of {batch} lines, but {len(self._places)} were placed: call place() first")
        noise = np.stack([occurrence_noise(self._seed, row, first, pos, width) for row, first in self._places])
        return torch.from_numpy(noise).to(output)
