"""Which layout a folder has, and the coder in it."""

from pathlib import Path

import torch

from sparse_coders import saelens_layout, sparsify_layout
from sparse_coders.errors import MalformedCoder
from sparse_coders.sparse_coder import SparseCoder


def load(
    folder: Path | str, *, dtype: torch.dtype | None = torch.float32, device: torch.device | str = "cpu"
) -> SparseCoder:
    """Returns the coder in a folder of our own or sparsify's layout (sae.safetensors), or SAELens's.

    Args:
        folder: Holds cfg.json and sae.safetensors, or cfg.json and sae_weights.safetensors.
        dtype: Type of the loaded weights; None keeps the type of the file.
        device: Where to put them.

    Raises:
        MalformedCoder: a file is missing or damaged, a tensor is missing, of the wrong shape or not finite, k > d_sae.
        UnsupportedCoder: a coder that cannot be run.
    """
    folder = Path(folder)
    ours, theirs = (folder / layout.WEIGHTS_FILE for layout in (sparsify_layout, saelens_layout))
    if ours.is_file() and theirs.is_file():
        raise MalformedCoder(f"{folder} holds both {ours.name} and {theirs.name}; keep one coder in a folder")
    if theirs.is_file():
        return saelens_layout.load_saelens(folder, dtype=dtype, device=device)
    return sparsify_layout.load(folder, dtype=dtype, device=device)
