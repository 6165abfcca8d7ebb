"""Specs of this service's jobs: dragoman.scoring.v1, field by field."""

from typing import Literal, Self

from dragoman.kinds import Spec
from dragoman.llm.budget import SpendingSpec
from pydantic import Field, ValidationInfo, field_validator, model_validator

Scorer = Literal[
    "detection",
    "fuzzing",
    "fuzzing_silent",
    "intruder",
    "decile_intruder",
    "embedding",
    "example_embedding",
    "simulation",
    "simulation_token_by_token",
    "surprisal",
    "discrimination",
    "intervention",
    "faithfulness",
    "output",
    "generation",
]


class LlmRef(Spec):
    """The judge, among the models that the server's operator configured."""

    model: str = ""
    """Name at the endpoint; empty means the endpoint's default, filled in at submit."""
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    max_tokens: int = Field(default=1, ge=1, le=8192)
    """A judge answers with one token; any other value is set to 1 at submit."""


class EmbedderRef(Spec):
    """The embedding model, at the endpoint that the server's operator configured."""

    model: str = ""
    """Name at the endpoint; empty means the endpoint's default, filled in at submit where it is needed."""


class Stopping(Spec):
    """When enough examples of a latent have been judged. At least one of width and threshold."""

    interval_width: float | None = Field(default=None, gt=0.0, lt=1.0)
    threshold: float | None = Field(default=None, gt=0.0, lt=1.0)
    error_rate: float = Field(default=0.05, ge=0.001, le=0.5)
    batch_count: int = Field(default=10, ge=2, le=1_000)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.interval_width is None and self.threshold is None:
            raise ValueError("give interval_width, threshold or both; without either judging would never stop early")
        return self


class ScoresSpec(SpendingSpec):
    """Explanations, or latents alone, against held-out windows."""

    explanations_id: str = ""
    """Empty only for a scorer that shows no explanation; it then scores the latents that fire most."""
    latents_id: str
    scorer: Scorer
    active_count: int = Field(default=20, ge=1, le=1_000)
    inactive_count: int = Field(default=20, ge=1, le=1_000)
    null_count: int = Field(default=20, ge=0, le=1_000)
    """Windows of each kind judged with another latent's explanation too. Default: active_count."""
    window_length: int = Field(default=32, ge=1, le=4096)
    llm: LlmRef = LlmRef()
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1)
    bootstrap_count: int = Field(default=2_000, ge=100, le=100_000)
    max_failed_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    latents_per_task: int = Field(default=4, ge=1, le=10_000)
    latent_count: int = Field(default=0, ge=0, le=2**31 - 1)
    """Without explanations, how many latents; 0 means all that are neither dead nor rare."""
    embedder: EmbedderRef = EmbedderRef()
    neighbour_count: int = Field(default=0, ge=0, le=1_000)
    """Negatives that are strong windows of latents that fire beside this one."""
    near_count: int = Field(default=0, ge=0, le=1_000)
    """Negatives that are the silent windows nearest to the activating ones by their embedding."""
    stop: Stopping | None = None
    """None: all examples are judged."""
    effects_id: str = ""
    """Only for scorers of steered texts."""
    kl_target: float | None = Field(default=None, gt=0.0, le=100.0)
    """At which of the effects' targets; None: at the one nearest to 1 nat."""
    decoder_count: int = Field(default=0, ge=0, le=1_000)
    """Negatives that are strong windows of latents whose decoder directions are like this one's."""
    written_latents_id: str = ""
    """Only for generation: the same coder's latents over written texts."""

    @model_validator(mode="before")
    @classmethod
    def _null_default(cls, values: object) -> object:
        """Writes out null_count, so that leaving it out and giving its default are one job."""
        if isinstance(values, dict) and values.get("null_count") is None:
            return {**values, "null_count": values.get("active_count", 20)}
        return values

    @model_validator(mode="after")
    def _explained_or_counted(self) -> Self:
        if self.explanations_id and self.latent_count:
            raise ValueError("latent_count is for latents without explanations; leave it out, or explanations_id")
        return self

    @field_validator("null_count")
    @classmethod
    def _null_within_active(cls, value: int, info: ValidationInfo) -> int:
        active_count = info.data.get("active_count", value)
        if value > active_count:
            raise ValueError(f"{value} is more than active_count ({active_count}); expected 0 to active_count")
        return value
