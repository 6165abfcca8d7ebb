"""Specs of the kinds of job, field by field as in protos/dragoman/activation/v1/activation.proto."""

from typing import Annotated, Any, Literal, Self

from dragoman.kinds import Spec
from dragoman.latent_selection import LatentSelection
from hooked_models.model_ref import DataType, ModelRef
from pydantic import Field, model_validator

Split = Literal["all", "train", "test"]
TextFormat = Literal["auto", "text", "jsonl", "parquet"]
BosPolicy = Literal["auto", "always", "never"]
Packing = Literal["packed", "document", "truncated"]
InterventionName = Literal["add", "clamp", "zero"]
PromptSource = Literal["activating", "random"]
SteeredPositions = Literal["last", "all"]

_KL_TARGETS = (0.1, 0.33, 1.0, 3.0)
"""Paulo et al. 2410.13928, appendix."""

_Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Latent = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Strength = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_KlTarget = Annotated[float, Field(gt=0.0, le=100.0, allow_inf_nan=False)]


class TokensSpec(Spec):
    """Text to packed token rows, split by document."""

    source: str = ""
    format: TextFormat = "auto"
    text_field: str = Field("text", min_length=1)
    tokenizer: str = Field(min_length=1)
    tokenizer_revision: str | None = None
    ctx_len: int = Field(256, ge=8, le=2**20)
    bos: BosPolicy = "auto"
    test_fraction: float = Field(0.2, ge=0.0, le=0.9)
    max_document_tokens: int = Field(0, ge=0, le=2**31 - 1)
    max_documents: _Count = 0
    seed: _Int64 = 0
    source_fingerprint: str = ""
    tokenizer_fingerprint: str = ""
    packing: Packing = "packed"
    messages_field: str = ""
    count_special_tokens: bool = False
    texts_id: str = ""
    scrambled: bool = False
    """Tokens are permuted over the documents of a split: for the check of unigram latents, never to be explained."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.source) == bool(self.texts_id):
            raise ValueError("expected either source or texts_id: text comes from files or from a texts artifact")
        if self.texts_id and self.messages_field:
            raise ValueError("messages_field is given, but a texts artifact holds no conversations; leave it out")
        return self


class _ForwardSpec(Spec):
    tokens_id: str = Field(min_length=1)
    model: ModelRef
    split: Split = "all"
    max_tokens: _Count = 0
    batch_size: int = Field(8, ge=1, le=4096)
    rows_per_task: int = Field(128, ge=1, le=2**20)


class ActivationsSpec(_ForwardSpec):
    """Token rows through a model to dense activations."""

    hookpoints: tuple[str, ...] = Field(min_length=1)
    dtype: DataType | None = None
    """None: the model's; written out at submit."""

    @model_validator(mode="after")
    def _no_hookpoint_twice(self) -> Self:
        if len(set(self.hookpoints)) != len(self.hookpoints):
            raise ValueError(f"a hookpoint is named twice in {list(self.hookpoints)}")
        return self


class LatentsSpec(_ForwardSpec):
    """Token rows through a model and a coder to a sparse latent cache."""

    coder_id: str = Field(min_length=1)
    top_windows: int = Field(10, ge=0, le=100)
    window_length: int = Field(32, ge=4, le=2**20)
    quantile_windows: int = Field(5, ge=0, le=100)
    activation_dtype: Literal["float16", "float32"] = "float16"
    token_table: int = Field(20, ge=0, le=1000)
    neighbours: int = Field(0, ge=0, le=100)
    neighbour_tokens: int = Field(1_000_000, ge=1, le=2**63 - 1)
    seed: _Int64 = 0


class EffectsSpec(Spec):
    """What steering or ablating latents does to the next token."""

    latents_id: str = Field(min_length=1)
    selection: LatentSelection = LatentSelection()
    """None means every latent that fires often enough."""
    intervention: InterventionName = "add"
    strengths: tuple[_Strength, ...] = ()
    kl_targets: tuple[_KlTarget, ...] = ()
    kl_tolerance: float = Field(0.1, ge=0.001, le=0.5)
    search_steps: int = Field(10, ge=1, le=100)
    prompts: PromptSource = "activating"
    split: Split = "train"
    prompt_count: int = Field(40, ge=1, le=1000)
    prompt_tokens: int = Field(64, ge=2, le=2**20)
    positions: SteeredPositions = "last"
    top_tokens: int = Field(20, ge=1, le=1000)
    new_tokens: int = Field(8, ge=0, le=256)
    temperature: float = Field(1.0, ge=0.0, le=2.0)
    seed: _Int64 = 0
    batch_size: int = Field(32, ge=1, le=4096)
    latents_per_task: int = Field(8, ge=1, le=10_000)

    @model_validator(mode="before")
    @classmethod
    def _write_out_targets(cls, values: Any) -> Any:
        """Writes out the default targets, so that leaving them out and giving them name the same artifact."""
        if isinstance(values, dict) and not values.get("strengths") and not values.get("kl_targets"):
            return {**values, "kl_targets": () if values.get("intervention") == "zero" else _KL_TARGETS}
        return values

    @model_validator(mode="after")
    def _strength_one_way(self) -> Self:
        if self.strengths and self.kl_targets:
            raise ValueError("strengths and kl_targets are both given; a strength is either given or searched for")
        if self.intervention == "zero" and (self.strengths or self.kl_targets):
            raise ValueError(
                "intervention 'zero' sets the activation to 0 and has no strength; leave strengths and kl_targets out"
            )
        return self


class FidelitySpec(Spec):
    """Coders spliced into the model, one at a time."""

    tokens_id: str = Field(min_length=1)
    model: ModelRef
    coder_ids: tuple[str, ...] = Field(min_length=1, max_length=256)
    split: Split = "test"
    max_tokens: _Count = 0
    batch_size: int = Field(4, ge=1, le=4096)
    rows_per_task: int = Field(32, ge=1, le=2**20)

    @model_validator(mode="after")
    def _no_coder_twice(self) -> Self:
        if len(set(self.coder_ids)) != len(self.coder_ids):
            raise ValueError(f"a coder is named twice in {list(self.coder_ids)}")
        return self
