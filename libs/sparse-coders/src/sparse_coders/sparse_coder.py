"""What every sparse coder has in common: an encoder to sparse latents and a linear decoder.

An autoencoder gives back what it reads, x ~ decode(encode(x)), and subtracts b_dec before it encodes. A transcoder
predicts the output of a module from its input (Dunefsky et al., arXiv 2406.11944) and subtracts nothing; one with a
skip connection adds W_skip x to what it predicts (Paulo et al., arXiv 2501.18823).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from dense_products import linear
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sparse_coders.errors import InvalidShape

_TILE_BYTES = 16 * 2**20
"""Pre-activations that exist at a time on a CPU: a tile that stays near the cache, and never n x d_sae."""
_CUDA_TILE_BYTES = 2**30
_ROW_MULTIPLE = 64
_ENCODED_ROWS = 256
"""Least height of a tile when encoding: a lower one reads all of W_enc too often. At d_sae 36,864 and d_model 576 a
token takes 399 us in tiles of 64 rows, 306 in tiles of 256, 289 in one tile of 2,048 (2 CPU threads)."""


class Encoded(NamedTuple):
    """The latents of each token, padded to one width."""

    acts: Float[Tensor, "n width"]
    """Activations, at least 0. What is exactly 0 is padding and did not fire."""
    indices: Int64[Tensor, "n width"]
    """Latents in 0..d_sae-1, none twice for a token; meaningless where the activation is 0."""


class CoderOptions(TypedDict, total=False):
    """What `SparseCoder` takes by name, for coders that take more than it does."""

    d_out: int | None
    transcoder: bool
    skip: bool
    dtype: torch.dtype
    device: torch.device | str


class SparseCoder(nn.Module, ABC):
    """Encoder and decoder; subclasses say which latents fire and how strongly."""

    architecture: ClassVar[str]
    """Name in cfg.json and in the statistics of artifacts."""

    def __init__(
        self,
        d_model: int,
        d_sae: int,
        *,
        d_out: int | None = None,
        transcoder: bool = False,
        skip: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Makes a coder with all parameters 0; see `sparse_coders.load`.

        Args:
            d_model: Width of what it reads.
            d_sae: Number of latents.
            d_out: Width of what it gives; None: d_model.
            transcoder: It predicts another hookpoint than it reads.
            skip: It has a linear connection from what it reads to what it gives; transcoders only.
            dtype: Type of the parameters.
            device: Where they are.

        Raises:
            InvalidShape: a size is below 1, or an autoencoder shall have a skip connection or another width out.
        """
        super().__init__()
        d_out = d_model if d_out is None else d_out
        if min(d_model, d_sae, d_out) < 1:
            raise InvalidShape(f"d_model {d_model}, d_sae {d_sae} and d_out {d_out} must each be at least 1")
        if not transcoder and (skip or d_out != d_model):
            raise InvalidShape(
                f"an autoencoder gives what it reads: d_model {d_model}, d_out {d_out}, skip {skip}; "
                "only a transcoder has another width out or a skip connection"
            )
        self.d_model, self.d_sae, self.d_out, self.transcoder = d_model, d_sae, d_out, transcoder
        self.W_enc: Float[Tensor, "d_sae d_model"] = parameter(d_sae, d_model, dtype=dtype, device=device)
        self.W_dec: Float[Tensor, "d_sae d_out"] = parameter(d_sae, d_out, dtype=dtype, device=device)
        self.b_dec: Float[Tensor, " d_out"] = parameter(d_out, dtype=dtype, device=device)
        self.W_skip: Float[Tensor, "d_out d_model"] | None = (
            parameter(d_out, d_model, dtype=dtype, device=device) if skip else None
        )
        for name, shape in self.own_shapes().items():
            self.register_parameter(name, parameter(*shape, dtype=dtype, device=device))

    def own_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns the parameters that an architecture has beside those of every coder."""
        return {}

    @property
    def k(self) -> int | None:
        """Latents for each token; None where their number varies."""
        return None

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, of all arithmetic and of the activations returned."""
        return self.W_enc.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc.device

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n d_model"]) -> Encoded:
        """Returns the latents of each token without ever holding n x d_sae pre-activations.

        Tokens go through the encoder in tiles of one fixed height, the last one padded, so that a token's latents do
        not depend on how many tokens came with it.

        Raises:
            InvalidShape: x is not d_model wide.
        """
        if x.ndim != 2 or x.shape[1] != self.d_model:
            raise InvalidShape(f"activations are {tuple(x.shape)}; this coder takes [n, {self.d_model}]")
        x = x.to(self.device, self.dtype)
        return self.encode_centred(x if self.transcoder else x - self.b_dec)

    @abstractmethod
    def encode_centred(self, centred: Float[Tensor, "n d_model"]) -> Encoded:
        """`encode` for what the encoder multiplies, in the coder's dtype and on its device.

        An autoencoder's activations have b_dec already subtracted.
        """

    def decode(
        self,
        acts: Float[Tensor, "n width"],
        indices: Int64[Tensor, "n width"],
        x: Float[Tensor, "n d_model"] | None = None,
    ) -> Float[Tensor, "n d_out"]:
        """Returns b_dec + sum of acts * W_dec[indices] (+ W_skip x), reading `width` decoder rows for each token.

        Args:
            acts: Activations; 0 is padding.
            indices: Latents.
            x: What was encoded; needed by a skip connection, else not looked at.

        Raises:
            InvalidShape: the coder has a skip connection and x is not given.
        """
        given = self.decode_centred(acts.to(self.dtype), indices) + self.b_dec
        if self.W_skip is None:
            return given
        if x is None:
            raise InvalidShape("this coder has a skip connection: decode needs x, the activations that were encoded")
        return given + linear(x.to(self.device, self.dtype), self.W_skip)

    def decode_centred(
        self, acts: Float[Tensor, "n width"], indices: Int64[Tensor, "n width"]
    ) -> Float[Tensor, "n d_out"]:
        """`decode` without b_dec and skip connection."""
        return F.embedding_bag(indices, self.W_dec, per_sample_weights=acts, mode="sum")

    def forward(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_out"]:
        """Returns the reconstruction of x, or what a transcoder predicts from it."""
        return self.decode(*self.encode(x), x)

    def tiles(self, centred: Float[Tensor, "n d_model"]) -> Iterator[tuple[int, int, Float[Tensor, "rows d_model"]]]:
        """Yields first row, number of rows and the rows of each tile, padded with 0 to a multiple of 64."""
        height = max(tile_height(self.d_sae, self.device), _ENCODED_ROWS)
        for start in range(0, len(centred), height):
            tile = centred[start : start + height]
            yield start, len(tile), F.pad(tile, (0, 0, 0, -len(tile) % _ROW_MULTIPLE))


def tile_height(d_sae: int, device: torch.device) -> int:
    """Returns how many tokens are encoded at a time: a function of the coder and the device only."""
    limit = _CUDA_TILE_BYTES if device.type == "cuda" else _TILE_BYTES
    return max(1, math.floor(limit / (4 * d_sae)) // _ROW_MULTIPLE) * _ROW_MULTIPLE


def parameter(*shape: int, dtype: torch.dtype, device: torch.device | str) -> nn.Parameter:
    """Returns a parameter full of 0."""
    return nn.Parameter(torch.zeros(shape, dtype=dtype, device=device))
