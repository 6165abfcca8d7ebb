"""Stage 0: which latents, in what order. One task."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from dragoman.artifacts import Artifact, InputInfo, Manifest
from dragoman.kinds import Checkpoint, Context, Part, Progress
from dragoman.latent_selection import LatentSelection
from latent_cache import LatentCache
from latent_cache.latent_choice import chosen_latents

from explainer.spec import ExplanationsSpec

SELECTION = "selection.json"
_TRIAGE = "triage.parquet"


def select(spec: ExplanationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
    """Yields the selection as a part, with the denominators over the dictionary as its metadata."""
    yield Progress(0, 1, "selections", "reading the index")
    index = LatentCache(context.inputs["latents"]).index
    wanted, ranking, enough = spec.selection, index.ranking(), index.has_windows(spec.min_windows)
    if "triage" in context.inputs:
        chosen = _triaged(spec, context.inputs["triage"])
    elif wanted == LatentSelection():
        chosen = ranking.tolist()  # all have a row; those that fire too rarely say so
    else:
        chosen = chosen_latents(ranking, enough, wanted.latents, wanted.ranks, wanted.count)
    dead = index.firing_count == 0
    rare = ~dead & ~enough
    metadata: dict[str, Any] = {"total": index.d_sae, "dead": int(np.sum(dead)), "rare": int(np.sum(rare))}
    yield Part(SELECTION, data=json.dumps(chosen).encode(), row_count=len(chosen), metadata=metadata, keep=False)


def selection_size(spec: ExplanationsSpec, inputs: Mapping[str, InputInfo]) -> int:
    """Returns how many latents are selected, or a number that is at least as large."""
    latents = inputs["latents"].manifest
    assert latents is not None
    if "triage" in inputs:
        triage = inputs["triage"].manifest
        assert triage is not None
        return labelled_count(spec, triage)
    wanted, d_sae = spec.selection, int(str(latents.statistics["d_sae"]))
    return len(wanted.latents) or len(wanted.ranks) or min(wanted.count, d_sae) or d_sae


def labelled_count(spec: ExplanationsSpec, triage: Manifest) -> int:
    """Returns how many latents of the wanted classes and tiers a triage has."""
    cells: Any = triage.statistics["cells"]
    return sum(
        count for name, tiers in cells.items() for tier, count in tiers.items() if _wanted(spec, name, int(tier))
    )


def _triaged(spec: ExplanationsSpec, triage: Artifact) -> list[int]:
    rows = pq.read_table(triage.download(_TRIAGE), columns=["latent", "class", "tier"]).to_pylist()
    return [row["latent"] for row in rows if row["tier"] is not None and _wanted(spec, row["class"], row["tier"])]


def _wanted(spec: ExplanationsSpec, name: str, tier: int) -> bool:
    """Obscure latents have no tier, and so are never wanted."""
    return name in (spec.triage_classes or (name,)) and tier in (spec.triage_tiers or (tier,))


def read_selection(own: Artifact) -> list[int]:
    """Returns the selected latents in order."""
    chosen: list[int] = json.loads(own.read(SELECTION))
    return chosen


def read_slice(context: Context) -> list[int]:
    """Returns the latents of this task, in the order of the selection."""
    payload: Any = context.task.payload
    return read_selection(context.own)[payload["first"] : payload["end"]]
