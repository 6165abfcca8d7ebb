"""One triage job: scores against their nulls, output effects, filters, and what labelling by tier saves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.errors import UserTaskError
from dragoman.ids import Json, derived_seed
from latent_cache import LatentCache
from latent_cache.filters import StillFires

from scorer.core.metrics import mean_interval
from scorer.core.triage import CLASSES, OUTPUT_SCORE, Evidence, Threshold, each_of, judged, threshold_of
from scorer.core.triage_output import Promoted, coherence, mixed_sets, null_coherences
from scorer.core.triage_saving import cells, counts, saving
from scorer.embedder import Embedder
from scorer.scorecard_checks import Artifacts
from scorer.triage_effects import promoted_by
from scorer.triage_reading import Filters, Scored, label_tokens, scored_by, spent_tokens, triaged
from scorer.triage_scrambled import ScrambledText
from scorer.triage_spec import TriageSpec

_RESAMPLES = 2_000

Row = dict[str, Any]


class Triage:
    """The inputs of one job, and what is made of them."""

    def __init__(self, spec: TriageSpec, inputs: Mapping[str, Artifact], artifacts: Artifacts) -> None:
        self._spec, self._inputs, self._artifacts = spec, inputs, artifacts
        self._scored = scored_by(inputs, "scores")
        self._control = scored_by(inputs, "control.scores")
        self._latents = triaged(self._scored)
        self._filters = Filters(LatentCache(inputs["latents"]).index, spec)
        count = len(self._scored) + bool(spec.effects_id)
        self._quantile = each_of(spec.quantile, count)
        self._thresholds = {name: self._limit(name, one) for name, one in self._scored.items()}
        self._output: Threshold | None = None
        self._promoted: Mapping[int, Promoted] = {}
        self._coherences: Mapping[int, float | None] = {}

    def _limit(self, name: str, scored: Scored) -> Threshold:
        return self._threshold(name, self._control[name].scores if self._control else scored.nulls)

    def _threshold(self, name: str, nulls: Sequence[float]) -> Threshold:
        if not nulls:
            raise UserTaskError(
                f"{name}: no latent has a score of the null; nothing can be told from it. Latents that fire in nearly "
                "all windows leave too few silent ones: score more latents or fewer windows of each, make latents of "
                "more text, or give the scores of a control",
                reason="NO_NULL",
            )
        return threshold_of(nulls, self._quantile)

    def look_at_effects(self, embedder: Embedder) -> None:
        """Embeds what latents promote, and what sets of tokens of the null do."""
        spec = self._spec
        self._promoted = promoted_by(self._inputs["effects"], spec.kl_target)
        own = {latent: list(found.texts) for latent, found in self._promoted.items() if found.texts}
        control = self._inputs.get("control.effects")
        nulls = (
            mixed_sets(own, spec.seed)
            if control is None
            else [list(found.texts) for found in promoted_by(control, spec.kl_target).values()]
        )
        texts = dict.fromkeys(text for tokens in [*own.values(), *nulls] for text in tokens)
        vectors = {text: found.vector for text, found in embedder.embedded(list(texts), spec.embedder).items()}
        self._coherences = {latent: coherence(tokens, vectors) for latent, tokens in own.items()}
        self._output = self._threshold(OUTPUT_SCORE, null_coherences(nulls, vectors))

    def rows(self) -> list[Row]:
        """Returns one row for each latent that was scored, by rank."""
        tokens = label_tokens(self._inputs.get("explanations"))
        checked = self._checked()
        return [self._row(row, tokens, checked.get(int(row["latent"]))) for row in self._latents]

    def _checked(self) -> Mapping[int, StillFires]:
        scrambled = self._inputs.get("scrambled")
        if scrambled is None:
            return {}
        own = self._inputs["latents"]
        tokens, others = (
            self._artifacts.artifact(str(artifact.manifest.statistics["tokens_id"])) for artifact in (own, scrambled)
        )
        candidates = self._filters.candidates([int(row["latent"]) for row in self._latents])
        return ScrambledText(own, tokens, scrambled, others).check(candidates) if candidates else {}

    def _row(self, row: Mapping[str, Any], tokens: Mapping[int, int], checked: StillFires | None) -> Row:
        latent = int(row["latent"])
        filters = self._filters.of(latent)
        share = checked.share if checked else None
        is_unigram = None if share is None else share >= self._spec.unigram_share
        scores = {name: one.score(latent) for name, one in self._scored.items()}
        promoted, output = self._promoted.get(latent, Promoted()), self._coherences.get(latent)
        evidence = Evidence(scores, output, filters["is_positional"], bool(is_unigram), promoted.is_inert)
        found = judged(evidence, self._thresholds, self._output)
        return {
            "latent": latent, "rank": row["rank"], "firing_count": row["firing_count"], "class": found.name,
            "tier": found.tier, "reason": "; ".join(filter(None, (found.reason, promoted.reason))), **filters,
            "unigram_share": share, "scrambled_count": checked.occurrence_count if checked else None,
            "is_unigram": is_unigram, "scorers": list(scores), "scores": list(scores.values()),
            "above": [found.above[name] for name in scores], "output_score": output,
            "output_above": found.above.get(OUTPUT_SCORE), "promoted": list(promoted.texts),
            "label_tokens": tokens.get(latent),
        }  # fmt: skip

    def statistics(self, rows: Sequence[Row]) -> dict[str, Json]:
        """Returns classes with their shares and denominators, thresholds, and what is saved."""
        said: Any = self._inputs["latents"].manifest.statistics
        manifests = [a.manifest for role, a in self._inputs.items() if role.startswith("scores.")]
        return {
            "total": said["d_sae"],
            "dead": said["dead_count"],
            "rare": said["rare_count"],
            "attempted": len(rows),
            "by_class": counts(rows),
            "class_shares": {name: self._share(rows, name) for name in CLASSES},
            "cells": cells(rows),
            "thresholds": self._limits(),
            "quantile": self._spec.quantile,
            "seed": self._spec.seed,
            "saving": saving(rows, spent_tokens(manifests)),
            "notes": list(self._notes()),
        }

    def _share(self, rows: Sequence[Row], name: str) -> dict[str, Json]:
        values = np.asarray([row["class"] == name for row in rows], np.float64)
        interval = mean_interval(values, derived_seed("triage", name, self._spec.seed), _RESAMPLES)
        low, high = (interval.low, interval.high) if interval else (None, None)
        return {"mean": float(values.mean()) if values.size else None, "low": low, "high": high, "n": int(values.size)}

    def _limits(self) -> dict[str, Json]:
        spec = self._spec
        of_scores = "scores of a control" if spec.control_scores_ids else "scores of its own null"
        found = {name: (one.metric, self._thresholds[name], of_scores) for name, one in self._scored.items()}
        if self._output is not None:
            source = "latents of a control" if spec.control_effects_id else "mixed sets"
            found[OUTPUT_SCORE] = ("coherence", self._output, source)
        return {
            name: {
                "metric": metric, "value": limit.value, "null": source, "null_count": limit.null_count,
                "error_rate": limit.error_rate,
            }
            for name, (metric, limit, source) in found.items()
        }  # fmt: skip

    def _notes(self) -> Iterator[str]:
        wanted = 1.0 - self._quantile
        limits = {**self._thresholds, **({} if self._output is None else {OUTPUT_SCORE: self._output})}
        for name, limit in limits.items():
            if limit.error_rate > wanted + 1e-9:
                yield (
                    f"{name}: {limit.null_count} scores of the null are too few for an error rate of {wanted:.3g}; "
                    f"it is {limit.error_rate:.3g}"
                )
        if not self._spec.effects_id:
            yield "no effects were given: nothing is of class output or cross, and obscure means obscure by input"
        if not self._spec.scrambled_latents_id:
            yield "unigram candidates were not checked on scrambled text: give scrambled_latents_id"
