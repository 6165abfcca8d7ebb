"""Stage 0: which latents, in what order. One task."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.kinds import Checkpoint, Context, Part, Progress
from latent_cache import LatentCache

from explainer.core.selection import may_have_windows, selected
from explainer.spec import ExplanationsSpec
from explainer.windows import TrainWindows

SELECTION = "selection.json"


def select(spec: ExplanationsSpec, context: Context, tokens: Artifact) -> Iterator[Progress | Part | Checkpoint]:
    """Yields the selection as a part, with what is known of all latents from their firing counts as its metadata."""
    yield Progress(0, 1, "selections", "reading the index")
    latents = context.inputs["latents"]
    index = LatentCache(latents).index
    windows: list[TrainWindows] = []

    def has_enough(latent: int) -> bool:
        if not windows:  # reading the documents of all rows is not needed unless latents are asked for by number
            windows.append(TrainWindows(latents, tokens, spec.window_length, spec.seed))
        return min(windows[0].counts(latent)) >= spec.min_windows

    wanted = spec.selection
    chosen = selected(index, wanted.latents, wanted.ranks, wanted.count, spec.min_windows, has_enough)
    dead = index.firing_count == 0
    rare = ~dead & ~may_have_windows(index, spec.min_windows)
    metadata: dict[str, Any] = {"total": index.d_sae, "dead": int(np.sum(dead)), "rare": int(np.sum(rare))}
    yield Part(SELECTION, data=json.dumps(list(chosen)).encode(), row_count=len(chosen), metadata=metadata, keep=False)


def read_selection(own: Artifact) -> list[int]:
    """Returns the selected latents in order."""
    chosen: list[int] = json.loads(own.read(SELECTION))
    return chosen
