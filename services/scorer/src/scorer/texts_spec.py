"""Spec of a texts job: dragoman.scoring.v1.TextsSpec."""

from dragoman.llm.budget import SpendingSpec
from pydantic import Field

from scorer.core.prompts_texts import MOST
from scorer.spec import LlmRef


class TextsLlmRef(LlmRef):
    """The model that writes, among those that the server's operator configured."""

    temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    max_tokens: int = Field(default=256, ge=16, le=8192)
    """Of a reply, which has five texts."""


class TextsSpec(SpendingSpec):
    """Texts written from explanations."""

    explanations_id: str
    text_count: int = Field(default=5, ge=1, le=MOST)
    """Texts of each explanation in which what it says occurs."""
    neutral_count: int = Field(default=5, ge=1, le=MOST)
    """And in which it does not."""
    llm: TextsLlmRef = TextsLlmRef()
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1)
    max_failed_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    latents_per_task: int = Field(default=16, ge=1, le=10_000)
