"""What an effects artifact says of latents: tokens that they promote, and tokens that move when they are turned up."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pyarrow.parquet as pq
from dragoman.artifacts import Artifact

from explainer.core.evidence import OutputEvidence
from explainer.spec import OutputEvidenceKind

EFFECTS = "effects.parquet"
LOGITS = "logits.parquet"
_NATS = 1.0
"""Where no target is asked for, the one nearest to this is taken: enough to move tokens, well below saturation."""

_PROJECTED = ["latent", "top_texts", "bottom_texts"]
_CHANGED = ["latent", "kl_target", "kl", "intervention", "raised_texts", "lowered_texts"]

Row = Mapping[str, Any]


def nearest_target(targets: Sequence[float]) -> float | None:
    """Returns the KL target that is nearest to 1 nat by ratio, the smaller one of two; None where there are none."""
    return min(sorted(targets), key=lambda target: abs(math.log(target / _NATS)), default=None)


def read_evidence(
    effects: Artifact, latents: Sequence[int], kind: OutputEvidenceKind, kl_target: float | None
) -> Mapping[int, OutputEvidence]:
    """Returns the evidence of each of these latents of which there is any."""
    projected: Mapping[int, Row] = {}
    changed: Mapping[int, Row] = {}
    if kind != "token_change":
        projected = {int(row["latent"]): row for row in _rows(effects, LOGITS, _PROJECTED, latents)}
    if kind != "vocab_proj":
        changed = _at_target(_rows(effects, EFFECTS, _CHANGED, latents), kl_target)
    found = {latent: _evidence(projected.get(latent), changed.get(latent)) for latent in latents}
    return {latent: evidence for latent, evidence in found.items() if evidence}


def _at_target(rows: Sequence[Row], kl_target: float | None) -> Mapping[int, Row]:
    """One row a latent: that of the target, or where strengths were given instead the one of the largest effect."""
    by_latent: dict[int, list[Row]] = {}
    for row in rows:
        by_latent.setdefault(int(row["latent"]), []).append(row)
    return {latent: _chosen(own, kl_target) for latent, own in by_latent.items()}


def _chosen(rows: Sequence[Row], kl_target: float | None) -> Row:
    targets = [float(row["kl_target"]) for row in rows if row["kl_target"] is not None]
    wanted = nearest_target(targets) if kl_target is None else kl_target
    at = [row for row in rows if wanted is not None and row["kl_target"] == wanted]
    return at[0] if at else max(rows, key=lambda row: row["kl"])


def _evidence(projected: Row | None, changed: Row | None) -> OutputEvidence:
    raised, lowered = (changed["raised_texts"] or (), changed["lowered_texts"] or ()) if changed else ((), ())
    if changed and changed["intervention"] == "zero":  # without the latent: what then falls is what it raises
        raised, lowered = lowered, raised
    promoted, suppressed = (projected["top_texts"] or (), projected["bottom_texts"] or ()) if projected else ((), ())
    return OutputEvidence(tuple(promoted), tuple(suppressed), tuple(raised), tuple(lowered))


def _rows(effects: Artifact, name: str, columns: Sequence[str], latents: Sequence[int]) -> list[Row]:
    path = effects.download(name)
    table = cast(Any, pq).read_table(path, columns=list(columns), filters=[("latent", "in", list(latents))])
    return cast("list[Row]", table.to_pylist())
