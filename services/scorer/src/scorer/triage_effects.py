"""The tokens that latents promote, as an effects artifact has them."""

from collections.abc import Mapping, Sequence

from dragoman.artifacts import Artifact
from latent_cache.effects import EFFECTS, Row, effect_rows, nearest_target

from scorer.core.triage_output import Promoted, cleaned

_COLUMNS = ["latent", "kl_target", "kl", "converged", "intervention", "raised_texts", "lowered_texts"]


def promoted_by(effects: Artifact, kl_target: float | None) -> Mapping[int, Promoted]:
    """Returns what each measured latent promotes: at one KL for all of them, since tokens at equal strength of unlike
    latents cannot be compared; where strengths were given instead, at the largest effect."""
    by_latent: dict[int, list[Row]] = {}
    for row in effect_rows(effects, EFFECTS, _COLUMNS):
        by_latent.setdefault(int(row["latent"]), []).append(row)
    targets = {float(row["kl_target"]) for rows in by_latent.values() for row in rows if row["kl_target"] is not None}
    wanted = kl_target or nearest_target(list(targets))
    return {latent: _promoted(rows, wanted) for latent, rows in by_latent.items()}


def _promoted(rows: Sequence[Row], wanted: float | None) -> Promoted:
    at = [row for row in rows if row["kl_target"] == wanted] if wanted is not None else list(rows)
    if not at:
        return Promoted(reason=f"was not measured at {wanted:g} nats")
    row = max(at, key=lambda row: row["kl"])
    if row["converged"] is False:
        return Promoted(reason=f"does not move the output by {wanted:g} nats at any strength", is_inert=True)
    # Without the latent, what then falls is what it raises.
    return Promoted(cleaned(row["lowered_texts" if row["intervention"] == "zero" else "raised_texts"] or ()))
