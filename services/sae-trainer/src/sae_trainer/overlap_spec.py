"""Spec of the kind `overlap`, field by field as OverlapSpec in protos/dragoman/training/v1/training.proto."""

from dragoman.kinds import Spec
from pydantic import Field


class OverlapSpec(Spec):
    """Two coders whose latents are matched."""

    coder_id: str = Field(min_length=1)
    other_coder_id: str = Field(min_length=1)
    threshold: float = Field(0.7, ge=-1.0, le=1.0, allow_inf_nan=False)
    """Least cosine of encoder and decoder directions of a shared latent; 0.7 in Paulo and Belrose 2501.16615."""
    null_count: int = Field(1, ge=0, le=10)
    seed: int = Field(0, ge=-(2**63), le=2**63 - 1)
