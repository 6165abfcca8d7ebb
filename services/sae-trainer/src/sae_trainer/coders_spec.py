"""The spec of coders that are trained together, as in protos/dragoman/training/v1/training.proto."""

from typing import Self

from dragoman.kinds import Spec
from pydantic import Field, model_validator

from sae_trainer.core.sweep import LARGEST_SWEEP
from sae_trainer.spec import CoderSpec

SHARED = ("streamed", "batch_tokens", "epochs", "checkpoint_steps")
"""What coders have in common that take their steps together."""


class CodersSpec(Spec):
    """Coders that one pass of a model trains."""

    coders: tuple[CoderSpec, ...] = Field(min_length=1, max_length=LARGEST_SWEEP)

    @model_validator(mode="after")
    def _take_their_steps_together(self) -> Self:
        first = self.coders[0]
        for number, coder in enumerate(self.coders):
            if coder.streamed is None:
                raise ValueError(
                    f"coders[{number}] has no streamed: coders are trained together on what a model gives while it "
                    "runs; of stored activations submit a sweep without one_pass"
                )
            differing = [name for name in SHARED if getattr(coder, name) != getattr(first, name)]
            if differing:
                raise ValueError(
                    f"coders[{number}] has another {', '.join(differing)} than coders[0]; coders that are trained "
                    "together take the same steps on the same tokens"
                )
            if coder.ranks > 1:
                raise ValueError(
                    f"coders[{number}] has ranks {coder.ranks}; coders that are trained together have one, "
                    "since all are trained where the model runs"
                )
            if coder in self.coders[:number]:
                raise ValueError(f"coders[{number}] is there twice; leave it out, or give it another seed")
        return self
