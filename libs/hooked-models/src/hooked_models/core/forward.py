"""Token rows through a model, batch by batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from dragoman.errors import UserTaskError
from jaxtyping import Float, Int32
from torch import Tensor

from hooked_models.core.control import Occurrences
from hooked_models.core.hooks import Capture


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The activations of the counted positions of some rows: those that belong to a document."""

    rows: Int32[np.ndarray, " n"]
    positions: Int32[np.ndarray, " n"]
    tokens: Int32[np.ndarray, " n"]
    activations: Mapping[str, Float[Tensor, "n d"]]
    """By hookpoint, on the model's device and in its dtype."""

    def __len__(self) -> int:
        return len(self.rows)


def run_batches(
    capture: Capture,
    tokens: Int32[np.ndarray, "rows pos"],
    documents: Int32[np.ndarray, "rows pos"],
    first_row: int,
    batch_size: int,
    device: torch.device,
    occurrences: Occurrences,
) -> Iterator[Batch]:
    """Runs rows through a model, at most `batch_size` at a time, BOS and padding included, and drops those after.

    A row is padded at its end only, and nothing that a causal model does reaches back, so padding needs no mask.
    Raises UserTaskError when an activation is not finite.
    """
    for at in range(0, len(tokens), batch_size):
        chunk = tokens[at : at + batch_size]
        places = np.nonzero(documents[at : at + batch_size] >= 0)
        index = torch.from_numpy(places[0] * chunk.shape[1] + places[1]).to(device)
        occurrences.place(range(first_row + at, first_row + at + len(chunk)))
        outputs = capture.run(torch.from_numpy(chunk.astype(np.int64)).to(device))
        rows = (places[0] + (first_row + at)).astype(np.int32)
        activations = {name: output.flatten(0, 1)[index] for name, output in outputs.items()}
        _check_finite(activations, rows)
        yield Batch(rows, places[1].astype(np.int32), chunk[places], activations)


def _check_finite(activations: Mapping[str, Tensor], rows: Int32[np.ndarray, " n"]) -> None:
    for hookpoint, values in activations.items():
        # A sum in float64 of finite values is finite, and cheaper than a mask of all of them.
        sums = values.sum(-1, dtype=torch.float64).cpu()
        wrong = torch.nonzero(~torch.isfinite(sums)).reshape(-1)
        if len(wrong):
            raise UserTaskError(
                f"{hookpoint} gives NaN or infinite activations at {len(wrong)} tokens, "
                f"first in row {rows[int(wrong[0])]}; a wider dtype may help (float16 overflows beyond 65,504)"
            )
