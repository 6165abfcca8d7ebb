"""Sparse coders: modules, gradients and file formats. PyTorch and files, nothing else."""

from sparse_coders.errors import InvalidShape, MalformedCoder, UnsupportedCoder
from sparse_coders.sparsify_layout import CONFIG_FILE, WEIGHTS_FILE, config_of, load, save
from sparse_coders.topk_coder import TopK, TopKCoder

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "InvalidShape",
    "MalformedCoder",
    "TopK",
    "TopKCoder",
    "UnsupportedCoder",
    "config_of",
    "load",
    "save",
]
