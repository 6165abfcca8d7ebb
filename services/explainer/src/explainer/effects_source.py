"""What an effects artifact says of latents: tokens that they promote, and tokens that move when they are turned up."""

from collections.abc import Mapping, Sequence

from dragoman.artifacts import Artifact
from latent_cache.effects import EFFECTS, LOGITS, Row, effect_rows, nearest_target

from explainer.core.evidence import OutputEvidence
from explainer.spec import OutputEvidenceKind

_PROJECTED = ["latent", "top_texts", "bottom_texts"]
_CHANGED = ["latent", "kl_target", "kl", "intervention", "raised_texts", "lowered_texts"]


def read_evidence(
    effects: Artifact, latents: Sequence[int], kind: OutputEvidenceKind, kl_target: float | None
) -> Mapping[int, OutputEvidence]:
    """Returns the evidence of each of these latents of which there is any."""
    projected: Mapping[int, Row] = {}
    changed: Mapping[int, Row] = {}
    if kind != "token_change":
        projected = {int(row["latent"]): row for row in effect_rows(effects, LOGITS, _PROJECTED, latents)}
    if kind != "vocab_proj":
        changed = _at_target(effect_rows(effects, EFFECTS, _CHANGED, latents), kl_target)
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
