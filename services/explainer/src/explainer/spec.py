"""Spec of this service's job: dragoman.explanation.v1, field by field."""

from typing import Annotated, Any, Literal, Self

from dragoman.kinds import Spec
from dragoman.latent_selection import LatentSelection
from dragoman.llm.budget import SpendingSpec
from pydantic import Field, model_validator

from explainer.core.sampling import Sampling
from explainer.options import with_defaults

Explainer = Literal[
    "default",
    "no_activations",
    "chain_of_thought",
    "contrastive",
    "hypotheses",
    "max_act",
    "output",
    "ensemble",
    "nla",
    "eleuther_acts_top5",
    "acts_top5",
    "other_latent",
    "generic",
    "random",
    "oracle",
]
CounterSource = Literal["same_tokens", "neighbours", "silent"]
OutputEvidenceKind = Literal["both", "vocab_proj", "token_change"]

TriageClass = Literal["input", "output", "cross"]

_Int32 = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Tier = Annotated[int, Field(ge=0, le=2)]
_LONGEST_TEXT = 600


class LlmRef(Spec):
    """The language model that writes, among those that the server's operator configured."""

    model: str = ""
    """Name at the endpoint; empty means the endpoint's default, filled in at submit."""
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    max_tokens: int = Field(default=64, ge=8, le=8192)


class NlaRef(Spec):
    """The activation verbaliser, one that the operator configured."""

    model: str = ""
    """Name of the subject model there; empty means the operator's, filled in at submit."""
    source: str = ""
    """Name of the verbaliser there; empty means the operator's, filled in at submit."""
    temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    last_paragraph: bool = False
    """Show only the last paragraph of each text, which speaks of the final token."""


class GivenText(Spec):
    """An explanation that is not asked of a model."""

    latent: _Int32
    explanation: str = Field(min_length=1, max_length=_LONGEST_TEXT)


class ExplanationsSpec(SpendingSpec):
    """One explanation for each selected latent. Which options an explainer has, and their defaults: `options.FORMS`."""

    latents_id: str = Field(min_length=1)
    selection: LatentSelection = LatentSelection()
    """None means every latent that has enough windows."""
    explainer: Explainer = "default"
    prompt_version: str = ""
    """Version of the explainer's prompt. Filled in at submit; one that this server does not have is refused."""
    example_count: int | None = Field(default=None, ge=1, le=100)
    sampling: Sampling | None = None
    show_strengths: bool | None = None
    counter_count: int | None = Field(default=None, ge=1, le=100)
    counter_source: CounterSource | None = None
    effects_id: str = ""
    output_evidence: OutputEvidenceKind | None = None
    kl_target: float | None = Field(default=None, gt=0.0, le=100.0)
    """None: that of the effects artifact that is nearest to 1 nat."""
    explanations_id: str = ""
    texts: tuple[GivenText, ...] = ()
    nla: NlaRef | None = None
    window_length: int = Field(default=32, ge=4, le=4096)
    min_windows: int = Field(default=20, ge=1, le=2**31 - 1)
    llm: LlmRef | None = None
    """None: the explainer asks no language model."""
    triage_id: str = ""
    """In place of selection: the latents that it found can be labelled."""
    triage_classes: tuple[TriageClass, ...] = ()
    """None means all three."""
    triage_tiers: tuple[_Tier, ...] = ()
    """None means all."""
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1)
    max_failed_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    latents_per_task: int = Field(default=8, ge=1, le=10_000)

    @model_validator(mode="before")
    @classmethod
    def _write_out_defaults(cls, values: Any) -> Any:
        return with_defaults(values) if isinstance(values, dict) else values  # pyright: ignore[reportUnknownArgumentType]

    @model_validator(mode="after")
    def _each_latent_one_text(self) -> Self:
        given = [text.latent for text in self.texts]
        twice = sorted({latent for latent in given if given.count(latent) > 1}) if len(set(given)) < len(given) else []
        if twice:
            raise ValueError(f"texts has latent {twice[0]} more than once; expected each at most once")
        return self
