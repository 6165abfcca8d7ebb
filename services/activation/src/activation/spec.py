"""Specs of the three kinds of job, field by field as in protos/dragoman/activation/v1/activation.proto."""

from typing import Annotated, Literal, Self

from dragoman.kinds import Spec
from pydantic import Field, model_validator

WeightsVariant = Literal["trained", "rerandomized_incl_emb"]
DataType = Literal["float32", "bfloat16", "float16"]
Split = Literal["all", "train", "test"]
TextFormat = Literal["auto", "text", "jsonl", "parquet"]
BosPolicy = Literal["auto", "always", "never"]

_Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class ModelRef(Spec):
    """A language model with the weights it shall run with."""

    source: str = Field(min_length=1)
    revision: str | None = None
    weights: WeightsVariant = "trained"
    weights_seed: _Int64 = 0
    dtype: DataType = "float32"
    fingerprint: str = ""


class TokensSpec(Spec):
    """Text to packed token rows, split by document."""

    source: str = Field(min_length=1)
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
