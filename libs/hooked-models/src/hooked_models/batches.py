"""Token rows through a loaded model, with hookpoints named in full. Imports torch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from dragoman.errors import UserTaskError
from jaxtyping import Float, Int32
from torch import Tensor

from hooked_models.core.forward import Batch, run_batches
from hooked_models.core.hooks import Capture
from hooked_models.models import DTYPES, LoadedModel


def batches(
    model: LoadedModel,
    hookpoints: Sequence[str],
    tokens: Int32[np.ndarray, "rows pos"],
    documents: Int32[np.ndarray, "rows pos"],
    first_row: int,
    batch_size: int,
) -> Iterator[Batch]:
    """Runs rows through a model; hookpoints are full module paths, in the batches too.

    Raises UserTaskError for a hookpoint that has no vector per token.
    """
    inner = {model.inner(name): name for name in hookpoints}
    with Capture(model.base, list(inner)) as capture, model.occurrences() as occurrences:
        try:
            for batch in run_batches(capture, tokens, documents, first_row, batch_size, model.device, occurrences):
                named = {inner[name]: values for name, values in batch.activations.items()}
                yield Batch(batch.rows, batch.positions, batch.tokens, named)
        except ValueError as error:
            raise UserTaskError(f"{error}; choose another hookpoint", reason="HOOKPOINT_UNUSABLE") from error


def stored(batch: Batch, hookpoint: str, dtype: str) -> Float[Tensor, "n d"]:
    """Returns activations in the dtype in which they are kept.

    Raises UserTaskError that names the row where one overflows.
    """
    values = batch.activations[hookpoint]
    narrow = values.to(DTYPES[dtype])
    if narrow.dtype != values.dtype and bool(narrow.isinf().any()):
        at = int(narrow.isinf().any(-1).nonzero()[0])
        raise UserTaskError(
            f"{hookpoint} has an activation of {float(values[at].abs().max()):.6g} in row {batch.rows[at]}, position "
            f"{batch.positions[at]}; {dtype} ends at {torch.finfo(narrow.dtype).max:,.6g}: "
            "use dtype bfloat16 or float32",
            reason="ACTIVATION_OVERFLOWS",
        )
    return narrow
