"""Sparse coders: modules, gradients and file formats. PyTorch and files, nothing else."""

from sparse_coders.errors import InvalidShape, MalformedCoder, UnsupportedCoder
from sparse_coders.gradients import Backward, Gradients, Losses, gradients
from sparse_coders.initial import initial_coder, normalise_decoder
from sparse_coders.sparsify_layout import CONFIG_FILE, WEIGHTS_FILE, config_of, load, save
from sparse_coders.topk_coder import TopK, TopKCoder
from sparse_coders.trainer import StepReport, TopKTrainer

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "Backward",
    "Gradients",
    "InvalidShape",
    "Losses",
    "MalformedCoder",
    "StepReport",
    "TopK",
    "TopKCoder",
    "TopKTrainer",
    "UnsupportedCoder",
    "config_of",
    "gradients",
    "initial_coder",
    "load",
    "normalise_decoder",
    "save",
]
