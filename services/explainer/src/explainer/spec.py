"""Spec of this service's job: dragoman.explanation.v1, field by field."""

from typing import Annotated, Literal, Self

from dragoman.kinds import Spec
from pydantic import Field, model_validator

Explainer = Literal["default"]
Sampling = Literal["quantiles", "top", "random"]

_Int32 = Annotated[int, Field(ge=0, le=2**31 - 1)]


class LatentSelection(Spec):
    """Which latents: at most one way; none means every latent that has enough windows."""

    latents: tuple[_Int32, ...] = ()
    ranks: tuple[_Int32, ...] = ()
    count: _Int32 = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("latents", "ranks", "count") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given together; expected at most one of latents, ranks, count")
        for name in ("latents", "ranks"):
            values: tuple[int, ...] = getattr(self, name)
            twice = sorted({v for v in values if values.count(v) > 1}) if len(set(values)) < len(values) else []
            if twice:
                raise ValueError(f"{name} names {twice[0]} more than once; expected each at most once")
        return self


class LlmRef(Spec):
    """The language model that writes, among those that the server's operator configured."""

    model: str = ""
    """Name at the endpoint; empty means the endpoint's default, filled in at submit."""
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    max_tokens: int = Field(default=64, ge=8, le=8192)


class ExplanationsSpec(Spec):
    """One explanation for each selected latent."""

    latents_id: str = Field(min_length=1)
    selection: LatentSelection = LatentSelection()
    explainer: Explainer = "default"
    prompt_version: str = ""
    """Version of the explainer's prompt. Filled in at submit; one that this server does not have is refused."""
    example_count: int = Field(default=20, ge=1, le=100)
    sampling: Sampling = "quantiles"
    window_length: int = Field(default=32, ge=4, le=4096)
    min_windows: int = Field(default=20, ge=1, le=2**31 - 1)
    llm: LlmRef = LlmRef()
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1)
    max_failed_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    latents_per_task: int = Field(default=8, ge=1, le=10_000)
