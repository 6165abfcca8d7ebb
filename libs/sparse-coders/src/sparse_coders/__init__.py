"""Sparse coders: modules, training and file formats. PyTorch and files, nothing else."""

from sparse_coders.batch_topk_coder import BatchTopKCoder, MatryoshkaCoder
from sparse_coders.coder_files import CONFIG_FILE
from sparse_coders.coder_trainer import CoderTrainer, StepReport
from sparse_coders.errors import InvalidOption, InvalidShape, MalformedCoder, UnsupportedCoder
from sparse_coders.form import ARCHITECTURES, Form
from sparse_coders.freezing import frozen
from sparse_coders.gated_coder import GatedCoder
from sparse_coders.initial import Initialisation, initial_coder, initial_coder_of, normalise_decoder
from sparse_coders.jumprelu_coder import JumpReLUCoder
from sparse_coders.layouts import load
from sparse_coders.options import TrainerOptions
from sparse_coders.relu_coder import ReLUCoder
from sparse_coders.saelens_layout import load_saelens, save_saelens
from sparse_coders.sparse_coder import Encoded, SparseCoder
from sparse_coders.sparsify_layout import WEIGHTS_FILE, config_of, load_matrix, save, save_sparsify
from sparse_coders.threshold_coder import ThresholdCoder
from sparse_coders.topk_coder import TopKCoder
from sparse_coders.trainers import trainer_of

__all__ = [
    "ARCHITECTURES",
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "BatchTopKCoder",
    "CoderTrainer",
    "Encoded",
    "Form",
    "GatedCoder",
    "Initialisation",
    "InvalidOption",
    "InvalidShape",
    "JumpReLUCoder",
    "MalformedCoder",
    "MatryoshkaCoder",
    "ReLUCoder",
    "SparseCoder",
    "StepReport",
    "ThresholdCoder",
    "TopKCoder",
    "TrainerOptions",
    "UnsupportedCoder",
    "config_of",
    "frozen",
    "initial_coder",
    "initial_coder_of",
    "load",
    "load_matrix",
    "load_saelens",
    "normalise_decoder",
    "save",
    "save_saelens",
    "save_sparsify",
    "trainer_of",
]
