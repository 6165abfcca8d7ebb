"""Specs of coders and evaluations, field by field as in protos/dragoman/training/v1/training.proto."""

from typing import Annotated, Any, Literal

from dragoman.kinds import Spec
from hooked_models.model_ref import DataType, ModelRef, WeightsVariant
from pydantic import Field, model_validator

from sae_trainer.core.architectures import Architecture, Optimiser, misfits, written_out

_Int32 = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Int64 = Annotated[int, Field(ge=1, le=2**63 - 1)]
_Above0 = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]
_From0 = Annotated[float, Field(ge=0.0, le=1e9, allow_inf_nan=False)]
_Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
_MADE_ELSEWHERE = ("imported", "taken")
"""Fields of a coder that is not trained by its own job."""


class ImportedModel(Spec):
    """The model whose activations a coder from elsewhere was trained on, as far as it was said; nothing is looked up.

    Field by field ModelRef of the activation service; None or empty where it is not known.
    """

    source: str = Field(min_length=1)
    revision: str | None = None
    weights: WeightsVariant = "trained"
    weights_seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
    dtype: DataType | None = None
    """None: not known; then activations of any type will do."""
    fingerprint: str = ""
    device: str = ""
    trust_remote_code: bool = False
    initial_weights: str = ""
    initial_weights_fingerprint: str = ""


class ImportedCoder(Spec):
    """A coder that was trained elsewhere."""

    source: str = Field(min_length=1)
    revision: str | None = None
    layout: Literal["auto", "sparsify", "saelens"] = "auto"
    model: ImportedModel
    hookpoint: str = ""
    output_hookpoint: str = ""
    fingerprint: str = ""


class StreamedActivations(Spec):
    """Activations that are never stored: tokens go through the model while coders are trained on what it gives."""

    tokens_id: str = Field(min_length=1)
    model: ModelRef
    split: Literal["all", "train", "test"] = "train"
    max_tokens: int = Field(0, ge=0, le=2**63 - 1)
    batch_size: int = Field(8, ge=1, le=4096)
    dtype: DataType | None = None
    """None: the model's; written out at submit."""
    shuffle_tokens: _Int32 = 2**19
    seed: int = Field(0, ge=-(2**63), le=2**63 - 1)


class TakenCoder(Spec):
    """One of the coders that a job of the kind `coders` trained."""

    coders_id: str = Field(min_length=1)
    number: int = Field(0, ge=0, le=2**31 - 1)


class CoderSpec(Spec):
    """Dense activations to a sparse coder, or a coder from elsewhere.

    Defaults are written out as `core.architectures` says. What is None then is not of this architecture, or is worked
    out once the data are known, by the rule that the field states.
    """

    activations_id: str = ""
    """Empty: the coder is imported or taken, or its activations are streamed."""
    hookpoint: str = ""
    """Empty: the artifact's only one. Not empty where activations are streamed."""
    output_hookpoint: str = ""
    """Empty: an autoencoder."""
    skip: bool = False
    architecture: Architecture = "topk"
    d_sae: _Int32 | None = None
    expansion_factor: float | None = Field(None, gt=0.0, le=2**20, allow_inf_nan=False)
    """Exactly one of d_sae and expansion_factor is set; 8 when neither was given."""
    k: _Int32 | None = None
    target_l0: _Above0 | None = None
    l1_coefficient: _From0 | None = None
    l0_coefficient: _From0 | None = None
    jumprelu_bandwidth: _Above0 | None = None
    multi_topk: bool = False
    widths: tuple[_Int32, ...] = ()
    """Empty: d_sae / 2, d_sae, and those of d_sae / 16, / 8 and / 4 that are at least 8 k."""
    learning_rate: float | None = Field(None, gt=0.0, le=1.0, allow_inf_nan=False)
    """None: c / sqrt(d_sae / 2^14), c by optimiser."""
    batch_tokens: _Int32 = 2048
    epochs: float = Field(1.0, gt=0.0, le=1e6, allow_inf_nan=False)
    warmup_steps: int | None = Field(None, ge=0, le=2**31 - 1)
    """None: a tenth of all steps, at most 1,000."""
    decay_fraction: float | None = Field(None, ge=0.0, le=1.0)
    optimiser: Optimiser = "adam"
    beta1: _Decay | None = None
    beta2: _Decay | None = None
    max_grad_norm: _Above0 | None = None
    decoder_norm: Literal["unit", "free"] | None = None
    tied_start: bool | None = None
    bias_start: Literal["mean", "geometric_median", "zero"] = "mean"
    input_normalisation: Literal["none", "mean_norm"] | None = None
    auxk_alpha: float | None = Field(None, ge=0.0, le=1e3, allow_inf_nan=False)
    resample_tokens: _Int64 | None = None
    dead_tokens: _Int64 | None = None
    """None: `run_length.default_dead_tokens`."""
    ema_decay: _Decay | None = None
    autocast: Literal["none", "bfloat16"] = "none"
    seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
    checkpoint_steps: _Int32 = 200
    imported: ImportedCoder | None = None
    ranks: int = Field(1, ge=1, le=1024)
    parallel: Literal["data", "latents"] = "data"
    streamed: StreamedActivations | None = None
    taken: TakenCoder | None = None

    @property
    def trained(self) -> bool:
        """True when this very job trains it."""
        return self.imported is None and self.taken is None

    @property
    def transcoder(self) -> bool:
        """True when it predicts another hookpoint than it reads."""
        return bool(self.output_hookpoint)

    @model_validator(mode="before")
    @classmethod
    def _write_out_defaults(cls, values: Any) -> Any:
        """So that leaving a default out and giving it name the same artifact."""
        if not isinstance(values, dict) or any(values.get(name) is not None for name in _MADE_ELSEWHERE):
            return values
        return written_out(values)

    @model_validator(mode="after")
    def _one_origin(self) -> "CoderSpec":
        origins = [name for name in ("activations_id", "streamed", *_MADE_ELSEWHERE) if getattr(self, name)]
        if not origins:
            raise ValueError(
                "activations_id is empty; give activations to train on, or a coder to import or to take, or streamed"
            )
        if self.trained:
            if len(origins) > 1:
                raise ValueError("activations_id and streamed are both given; give one of them")
            return self
        fields = type(self).model_fields
        made = next(name for name in _MADE_ELSEWHERE if name in origins)
        given = [name for name, field in fields.items() if getattr(self, name) != field.default and name != made]
        if given:
            raise ValueError(
                f"{', '.join(given)}: not for a coder that is {made}, which is not trained here; leave out "
                f"everything but {made}"
            )
        return self

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> "CoderSpec":
        found = misfits(self.model_dump()) if self.trained else []
        if self.streamed is not None and not self.hookpoint:
            found.append("hookpoint is empty; of a model that is streamed, say which module the coder reads")
        if found:
            raise ValueError("; ".join(found))
        return self


class EvaluationSpec(Spec):
    """A coder on held-out activations."""

    coder_id: str = Field(min_length=1)
    activations_id: str = Field(min_length=1)
    batch_tokens: _Int32 = 2048
    floor_tokens: int = Field(65_536, ge=0, le=2**31 - 1)
    """Gaussian activations that the floor of the FVU is measured on; 0: no floor."""
    seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
