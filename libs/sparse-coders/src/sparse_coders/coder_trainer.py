"""One training step of any coder, and everything that the next one depends on."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from sparse_coders.errors import InvalidOption
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.topk_coder import TopKCoder
from sparse_coders.trainer import StepReport, TopKTrainer


class CoderTrainer:
    """Trains a coder in place, in plain PyTorch."""

    def __init__(self, coder: SparseCoder, options: TrainerOptions) -> None:
        """Takes over a coder and trains it in place.

        Args:
            coder: Float32 weights, on the device that shall train.
            options: How.

        Raises:
            InvalidOption: the options do not fit the coder.
        """
        options.check(coder)
        if not isinstance(coder, TopKCoder) or coder.transcoder:
            raise InvalidOption(f"{coder.architecture} coders cannot be trained yet, TopK autoencoders can")
        self.coder = coder
        self.options = options
        self._trainer = TopKTrainer(coder, auxk_alpha=options.auxk_alpha, dead_tokens=options.dead_tokens)

    def step(self, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], learning_rate: float) -> StepReport:
        """Trains on a batch in the coder's dtype and on its device; y is x for an autoencoder."""
        return self._trainer.step(x, learning_rate)

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that the next step depends on."""
        return self._trainer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where another trainer with the same options was when it called `state`.

        Raises:
            MalformedCoder: a tensor is missing or has another shape.
        """
        self._trainer.load_state(state)

    def finish(self) -> None:
        """Puts the weights that training was for into the coder; no step may follow."""
