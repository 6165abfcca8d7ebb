"""The drawing task of the `latents` kind: the pools of silent windows, and how many tokens each position has."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from dragoman.ids import derived_seed
from dragoman.kinds import Context, Part, Progress
from hooked_models.core.rows import RowRange
from latent_cache.silent_pool import POOL_WINDOWS
from latent_cache.token_rows import TokenRows
from latent_cache.windows import find_runs
from safetensors.numpy import save

from activation.core.silent_draw import SilentDraw
from activation.spec import LatentsSpec
from activation.window_tokens import window_tokens

DRAWN_NAME = "drawn.safetensors"
_TOKENS_AT_ONCE = 1 << 19


def draw(spec: LatentsSpec, context: Context) -> Iterator[Progress | Part]:
    """Reads the documents of all rows once, some rows at a time."""
    ranges: Any = context.task.payload["rows"]
    rows = TokenRows(context.inputs["tokens"], whole_shards=True)
    seed = derived_seed("silent", spec.seed)
    drawing = SilentDraw(POOL_WINDOWS, seed, rows.ctx_len, spec.window_length, rows.train_row_count)
    token_counts = np.zeros(rows.ctx_len, np.int64)
    done, total = 0, sum(end - first for first, end in ranges)
    for low, high in _pieces([(int(first), int(end)) for first, end in ranges], rows.ctx_len):
        documents = rows.documents(np.arange(low, high))
        drawing.add(find_runs(documents, low, spec.window_length))
        token_counts += (documents >= 0).sum(0, dtype=np.int64)
        done += high - low
        yield Progress(done, total, "rows")
    drawn = drawing.drawn()
    tokens, _ = window_tokens(rows, drawn.places, spec.window_length)
    tensors = {
        "places": drawn.places,
        "documents": drawn.documents.astype(np.int32),
        "tokens": tokens,
        "token_counts": token_counts,
    }
    yield Part(DRAWN_NAME, data=save(tensors), row_count=len(drawn.places), keep=False)


def _pieces(ranges: list[RowRange], ctx_len: int) -> Iterator[RowRange]:
    step = max(1, _TOKENS_AT_ONCE // ctx_len)
    for first, end in ranges:
        for low in range(first, end, step):
            yield low, min(low + step, end)
