"""The shards of an `activations` artifact: one file for each hookpoint, of the same rows."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from dragoman.kinds import Context, Part
from hooked_models.batches import stored
from hooked_models.core.forward import Batch
from jaxtyping import Int32
from torch import Tensor

from activation.spec import ActivationsSpec
from activation.tensor_stream import TensorStream

_STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


class ActivationShards:
    """The shards of some rows of a task, one for each hookpoint, written batch by batch. Use as `with`."""

    def __init__(
        self, spec: ActivationsSpec, context: Context, number: int, documents: Int32[np.ndarray, "rows pos"]
    ) -> None:
        """`number`: of these shards in their artifact. `documents`: of the rows, by position; -1 does not count."""
        self._dtype = spec.dtype or "float32"
        self._number = number
        self._row_count, self._token_count = len(documents), int((documents >= 0).sum())
        self._paths = {h: context.scratch / f"{number}-{i}" for i, h in enumerate(spec.hookpoints)}
        self._streams: dict[str, TensorStream] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def append(self, batch: Batch) -> None:
        """Writes a batch; the first tells how wide the files are. Raises UserTaskError where a dtype is too narrow."""
        for name, path in self._paths.items() if not self._streams else ():
            tensors = tensors_of(batch, name, self._token_count, self._dtype)
            self._streams[name] = self._open.enter_context(TensorStream(path, tensors))
        for name, stream in self._streams.items():
            append(stream, batch, name, self._dtype)

    def parts(self) -> Iterator[Part]:
        """Yields the files, once they are closed."""
        for hookpoint, path in self._paths.items():
            counts = {"token_count": self._token_count, "row_count": self._row_count}
            metadata: dict[str, Any] = {"hookpoint": hookpoint, **counts}
            name = f"{hookpoint}/shard-{self._number:05d}.safetensors"
            yield Part(name, path=path, row_count=self._token_count, metadata=metadata, stays=True)


def tensors_of(batch: Batch, name: str, total: int, dtype: str) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Returns dtypes and shapes of a shard of `total` tokens, as `TensorStream` takes them."""
    return {
        "activations": (_STORED[dtype], (total, batch.activations[name].shape[1])),
        "rows": ("I32", (total,)),
        "positions": ("I32", (total,)),
    }


def append(stream: TensorStream, batch: Batch, name: str, dtype: str) -> None:
    """Writes the activations of a batch. Raises UserTaskError where one does not fit the dtype."""
    stream.append("activations", _bytes(stored(batch, name, dtype)))
    stream.append("rows", _bytes(torch.from_numpy(batch.rows)))
    stream.append("positions", _bytes(torch.from_numpy(batch.positions)))


def _bytes(values: Tensor) -> memoryview:
    """Returns the bytes of a tensor, not copied; numpy knows no bfloat16."""
    return values.contiguous().cpu().view(torch.uint8).numpy().reshape(-1).data
