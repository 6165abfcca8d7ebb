"""Specs of the two kinds of job, field by field as in protos/dragoman/training/v1/training.proto."""

from typing import Annotated, Any, Literal

from dragoman.kinds import Spec
from pydantic import Field, model_validator

from sae_trainer.core.architectures import Architecture, Optimiser, misfits, written_out

_Int32 = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Int64 = Annotated[int, Field(ge=1, le=2**63 - 1)]
_Above0 = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]
_From0 = Annotated[float, Field(ge=0.0, le=1e9, allow_inf_nan=False)]
_Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class ImportedModel(Spec):
    """The model whose activations a coder from elsewhere was trained on, as far as it was said; nothing is looked up.

    Field by field ModelRef of the activation service; None or empty where it is not known.
    """

    source: str = Field(min_length=1)
    revision: str | None = None
    weights: Literal["trained", "rerandomized_incl_emb", "rerandomized_excl_emb", "step0", "control"] = "trained"
    weights_seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
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


class CoderSpec(Spec):
    """Dense activations to a sparse coder, or a coder from elsewhere.

    Defaults are written out as `core.architectures` says. What is None then is not of this architecture, or is worked
    out once the data are known, by the rule that the field states.
    """

    activations_id: str = ""
    """Empty: the coder is imported."""
    hookpoint: str = ""
    """Empty: the artifact's only one."""
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
    """Empty: d_sae / 16, / 8, / 4, / 2 and d_sae."""
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
    """None: 10,000,000, at most a quarter of the run."""
    ema_decay: _Decay | None = None
    autocast: Literal["none", "bfloat16"] = "none"
    seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
    checkpoint_steps: _Int32 = 200
    imported: ImportedCoder | None = None

    @property
    def transcoder(self) -> bool:
        """True when it predicts another hookpoint than it reads."""
        return bool(self.output_hookpoint)

    @model_validator(mode="before")
    @classmethod
    def _write_out_defaults(cls, values: Any) -> Any:
        """So that leaving a default out and giving it name the same artifact."""
        if not isinstance(values, dict) or values.get("imported") is not None:
            return values
        return written_out(values)

    @model_validator(mode="after")
    def _one_origin(self) -> "CoderSpec":
        if self.imported is None:
            if not self.activations_id:
                raise ValueError("activations_id is empty; give activations to train on, or a coder to import")
            return self
        fields = type(self).model_fields
        given = [name for name, field in fields.items() if getattr(self, name) != field.default and name != "imported"]
        if given:
            raise ValueError(
                f"{', '.join(given)}: not for a coder that is imported, which is not trained here; leave out "
                "everything but imported"
            )
        return self

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> "CoderSpec":
        if self.imported is None:
            found = misfits(self.model_dump())
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
