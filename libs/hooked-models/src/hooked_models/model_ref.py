"""Which language model a spec means, field by field as ModelRef in protos/dragoman/activation/v1/activation.proto."""

from typing import Annotated, Literal, Self

from dragoman.kinds import Spec
from pydantic import Field, model_validator

WeightsVariant = Literal["trained", "rerandomized_incl_emb", "rerandomized_excl_emb", "step0", "control"]
DataType = Literal["float32", "bfloat16", "float16"]

_Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class ModelRef(Spec):
    """A language model with the weights it shall run with."""

    source: str = Field(min_length=1)
    revision: str | None = None
    weights: WeightsVariant = "trained"
    weights_seed: _Int64 = 0
    dtype: DataType = "float32"
    fingerprint: str = ""
    device: str = Field("", pattern=r"^(cpu|cuda(:[0-9]{1,3})?)?$")
    trust_remote_code: bool = False
    initial_weights: str = ""
    initial_weights_fingerprint: str = ""

    @model_validator(mode="after")
    def _initial_weights_are_of_step0(self) -> Self:
        if self.initial_weights and self.weights != "step0":
            raise ValueError(
                f"initial_weights is given, but weights is {self.weights!r}; it means something for 'step0'"
            )
        return self
