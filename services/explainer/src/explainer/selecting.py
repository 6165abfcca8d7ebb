"""Stage 0: which latents, in what order. One task."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.kinds import Checkpoint, Context, Part, Progress
from latent_cache import LatentCache

from explainer.core.selection import has_windows, selected
from explainer.spec import ExplanationsSpec

SELECTION = "selection.json"


def select(spec: ExplanationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
    """Yields the selection as a part, with the denominators over the dictionary as its metadata."""
    yield Progress(0, 1, "selections", "reading the index")
    index = LatentCache(context.inputs["latents"]).index
    wanted = spec.selection
    chosen = selected(index, wanted.latents, wanted.ranks, wanted.count, spec.min_windows)
    dead = index.firing_count == 0
    rare = ~dead & ~has_windows(index, spec.min_windows)
    metadata: dict[str, Any] = {"total": index.d_sae, "dead": int(np.sum(dead)), "rare": int(np.sum(rare))}
    yield Part(SELECTION, data=json.dumps(list(chosen)).encode(), row_count=len(chosen), metadata=metadata, keep=False)


def read_selection(own: Artifact) -> list[int]:
    """Returns the selected latents in order."""
    chosen: list[int] = json.loads(own.read(SELECTION))
    return chosen


def read_slice(context: Context) -> list[int]:
    """Returns the latents of this task, in the order of the selection."""
    payload: Any = context.task.payload
    return read_selection(context.own)[payload["first"] : payload["end"]]
