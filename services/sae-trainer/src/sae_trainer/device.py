"""Where a task computes. Imports torch."""

import torch
from dragoman.errors import FailedPrecondition

from sae_trainer.config import Config


def prepared_device(config: Config) -> torch.device:
    """Sets the number of threads and returns the device. Raises FailedPrecondition when cuda is asked for in vain."""
    torch.set_num_threads(config.torch_threads)
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition("SAE_TRAINER_DEVICE is cuda but torch sees no such device; set it to cpu or auto")
    return torch.device(config.device)
