"""Reads the tables of an effects artifact: what explainers and scorers take from it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
from dragoman.artifacts import Artifact

EFFECTS, PROMPTS, CONTINUATIONS, LOGITS = (
    "effects.parquet",
    "prompts.parquet",
    "continuations.parquet",
    "logits.parquet",
)
_NATS = 1.0
"""Where no target is asked for, the one nearest to this is taken: enough to move tokens, well below saturation."""

Row = Mapping[str, Any]


def nearest_target(targets: Sequence[float]) -> float | None:
    """Returns the KL target that is nearest to 1 nat by ratio, the smaller one of two; None where there are none."""
    return min(sorted(targets), key=lambda target: abs(math.log(target / _NATS)), default=None)


def effect_rows(effects: Artifact, name: str, columns: Sequence[str], of: Sequence[int] | None = None) -> list[Row]:
    """Returns columns of a table in the order of the file. `of`: of these latents; None: of all."""
    filters = None if of is None else [("latent", "in", list(of))]
    table = cast(Any, pq).read_table(effects.download(name), columns=list(columns), filters=filters)
    return cast("list[Row]", table.to_pylist())
