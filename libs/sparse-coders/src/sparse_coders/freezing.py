"""Coders that are only run, not trained."""

import torch

from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.topk_coder import TopKCoder
from sparse_coders.trainers import has_numba


def frozen(coder: SparseCoder) -> SparseCoder:
    """Returns the fastest coder with these weights, which it shares and which may not change from now on.

    That is another one than was given for TopK coders in float32 on CPUs that multiply bfloat16; it takes 2 d_model
    d_sae bytes more. Without Numba, and for all else, it is the coder itself.
    """
    if not isinstance(coder, TopKCoder) or not has_numba():
        return coder
    from sparse_coders.frozen_topk_coder import FrozenTopKCoder  # reads Numba, which takes half a second
    from sparse_coders.kernels.rounded_encoder import has_fast_bfloat16

    fits = coder.device.type == "cpu" and coder.dtype == torch.float32 and coder.W_enc.is_contiguous()
    return FrozenTopKCoder(coder) if fits and has_fast_bfloat16() else coder
