"""Specs of the two kinds of job, field by field as in protos/dragoman/training/v1/training.proto."""

from typing import Annotated, Any, Literal

from dragoman.kinds import Spec
from pydantic import Field, model_validator

_Int32 = Annotated[int, Field(ge=1, le=2**31 - 1)]
DEFAULT_EXPANSION_FACTOR = 8.0


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

    None means: by the rule that the field states, once the data are known.
    """

    activations_id: str = ""
    """Empty: the coder is imported."""
    hookpoint: str = ""
    """Empty: the artifact's only one."""
    architecture: Literal["topk"] = "topk"
    d_sae: _Int32 | None = None
    expansion_factor: float | None = Field(None, gt=0.0, le=2**20, allow_inf_nan=False)
    """Exactly one of d_sae and expansion_factor is set; 8 when neither was given."""
    k: _Int32 = 32
    learning_rate: float | None = Field(None, gt=0.0, le=1.0, allow_inf_nan=False)
    """None: 2e-4 / sqrt(d_sae / 2^14)."""
    batch_tokens: _Int32 = 2048
    epochs: float = Field(1.0, gt=0.0, le=1e6, allow_inf_nan=False)
    warmup_steps: int | None = Field(None, ge=0, le=2**31 - 1)
    """None: a tenth of all steps, at most 1,000."""
    decay_fraction: float = Field(0.2, ge=0.0, le=1.0)
    auxk_alpha: float = Field(1 / 32, ge=0.0, le=1e3, allow_inf_nan=False)
    dead_tokens: int | None = Field(None, ge=1, le=2**63 - 1)
    """None: 10,000,000, at most a quarter of the run."""
    seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
    checkpoint_steps: _Int32 = 200
    imported: ImportedCoder | None = None

    @model_validator(mode="before")
    @classmethod
    def _write_out_width(cls, values: Any) -> Any:
        """Writes out the default width, so that leaving it out and giving it name the same artifact."""
        if not isinstance(values, dict) or values.get("imported") is not None:
            return values
        if values.get("d_sae") is None and values.get("expansion_factor") is None:
            return {**values, "expansion_factor": DEFAULT_EXPANSION_FACTOR}
        return values

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
    def _one_width(self) -> "CoderSpec":
        if self.d_sae is not None and self.expansion_factor is not None:
            raise ValueError(
                f"d_sae ({self.d_sae}) and expansion_factor ({self.expansion_factor:g}) are both given; "
                "give the number of latents one way"
            )
        if self.d_sae is not None and self.k > self.d_sae:
            raise ValueError(f"k is {self.k} but there are only {self.d_sae} latents; choose k <= d_sae")
        return self


class EvaluationSpec(Spec):
    """A coder on held-out activations."""

    coder_id: str = Field(min_length=1)
    activations_id: str = Field(min_length=1)
    batch_tokens: _Int32 = 2048
    floor_tokens: int = Field(65_536, ge=0, le=2**31 - 1)
    """Gaussian activations that the floor of the FVU is measured on; 0: no floor."""
    seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
