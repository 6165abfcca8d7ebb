"""Spec of the kind `triage`: dragoman.scoring.v1.TriageSpec, field by field."""

from typing import Annotated, Self

from dragoman.kinds import Spec
from pydantic import Field, model_validator

from scorer.spec import EmbedderRef

_Id = Annotated[str, Field(min_length=1)]


class TriageSpec(Spec):
    """Latents by what explains them, before any is labelled."""

    latents_id: _Id
    scores_ids: tuple[_Id, ...] = Field(min_length=1, max_length=16)
    """Scores of these latents by scorers that show no explanation, one artifact for each scorer."""
    effects_id: str = ""
    """Empty: nothing is known of the output, and no latent is of class output or cross."""
    control_scores_ids: tuple[_Id, ...] = Field(default=(), max_length=16)
    """Scores of another run's latents, whose distribution is the null; empty: each scorer's own null."""
    control_effects_id: str = ""
    """Effects of another run's latents, whose distribution is the null; empty: mixed sets of tokens."""
    scrambled_latents_id: str = ""
    """The same coder over scrambled tokens; empty: unigram candidates stay candidates."""
    explanations_id: str = ""
    """Explanations of all these latents, or a dry run of them: what labelling everything costs."""
    quantile: float = Field(default=0.95, ge=0.5, le=0.999)
    """Of a null's distribution over latents, above which a score counts."""
    kl_target: float | None = Field(default=None, gt=0.0, le=100.0)
    """None: that of the effects artifact that is nearest to 1 nat."""
    positional_information: float = Field(default=0.05, gt=0.0, le=10.0)
    unigram_share: float = Field(default=0.9, gt=0.0, le=1.0)
    embedder: EmbedderRef = EmbedderRef()
    """Needed with effects_id."""
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("scores_ids", "control_scores_ids"):
            ids: tuple[str, ...] = getattr(self, name)
            twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
            if twice:
                raise ValueError(f"{name} names {twice[0]} more than once; expected one artifact for each scorer")
        if not self.effects_id and (self.control_effects_id or self.kl_target is not None):
            raise ValueError("control_effects_id and kl_target are of the output effect; give effects_id, or neither")
        return self
