"""Where a task computes, and with what. Imports torch."""

import importlib.util
from collections.abc import Mapping

import torch
from dragoman.errors import FailedPrecondition

from sae_trainer.config import Config

_PACKAGES: Mapping[str, str] = {"compiled": "numba", "triton": "triton"}
"""What kernels need that are chosen by name."""


def prepared_device(config: Config) -> torch.device:
    """Sets the number of threads and returns the device. Raises FailedPrecondition when cuda is asked for in vain."""
    torch.set_num_threads(config.torch_threads)
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition("SAE_TRAINER_DEVICE is cuda but torch sees no such device; set it to cpu or auto")
    return torch.device(config.device)


def check_kernels(config: Config) -> None:
    """Raises FailedPrecondition when kernels are asked for by name whose package is not there."""
    package = _PACKAGES.get(config.kernels)
    if package is not None and importlib.util.find_spec(package) is None:
        raise FailedPrecondition(
            f"SAE_TRAINER_KERNELS is {config.kernels} but this worker has no package {package}; install it, or set it "
            "to auto"
        )
