"""Changes latents' activations inside a forward pass; what the coder does not explain of a vector is kept."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from activation.core.splice import Edit

InterventionName = Literal["add", "clamp", "zero"]


def activation_change(
    name: InterventionName, activations: Float[Tensor, "batch pos"], strengths: Float[Tensor, " batch"]
) -> Float[Tensor, "batch pos"]:
    """Returns a' - a: what an intervention adds to a latent's activation at each position.

    add: the strength. clamp: what is missing to the strength. zero: what takes the activation to 0.
    """
    if name == "add":
        return strengths[:, None].expand_as(activations)
    return strengths[:, None] - activations if name == "clamp" else -activations


def steer(
    value: Float[Tensor, "batch pos d_out"],
    change: Float[Tensor, "batch pos"],
    directions: Float[Tensor, "batch d_out"],
) -> Float[Tensor, "batch pos d_out"]:
    """Returns x + (a' - a) W_dec[latent], each line with its own latent's direction, added up in float32.

    That is encode, change, decode, and the reconstruction's error put back (Paulo et al. 2410.13928, appendix).
    """
    return (value.float() + change.float()[:, :, None] * directions.float()[:, None]).to(value.dtype)


def activations_of(
    coder: Any, x: Float[Tensor, "batch pos d_in"], latents: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch pos"]:
    """Returns each line's own latent's activation at each position; 0 where it does not fire."""
    batch, pos, _ = x.shape
    acts, indices = coder.encode(x.flatten(0, 1))
    own = latents.repeat_interleave(pos)[:, None]
    return torch.where(indices == own, acts, 0).sum(-1).float().reshape(batch, pos)


class LatentEdit:
    """Edits for `Splice` that change one latent on each line of a batch, and say how strongly it was active.

    An autoencoder reads and changes one hookpoint; a transcoder reads one and changes another, later one.
    """

    def __init__(self, coder: Any, reads: str, gives: str, name: InterventionName) -> None:
        """`reads`, `gives`: hookpoints as the spliced model names them."""
        self._coder = coder
        self._reads = reads
        self._gives = gives
        self._name: InterventionName = name
        self._found: Tensor | None = None

    def measuring(self, latents: Int64[Tensor, " batch"], first: int) -> Mapping[str, Edit]:
        """Returns edits that change nothing and take the activations from position `first` of the pass on."""

        def take(value: Tensor, read: Tensor) -> Tensor:
            self._found = activations_of(self._coder, value[:, first:], latents)
            return value

        return {self._reads: take}

    def taken(self) -> Float[Tensor, "batch pos"]:
        """Returns what the last pass took. Raises ValueError when the pass never came to the hookpoint."""
        if self._found is None:
            raise ValueError(f"the hookpoint {self._reads!r} is not reached before {self._gives!r}")
        return self._found

    def changing(
        self, latents: Int64[Tensor, " batch"], strengths: Float[Tensor, " batch"], first: int
    ) -> Mapping[str, Edit]:
        """Returns edits that change the latents from position `first` of the pass on; strengths are absolute."""
        directions = self._coder.W_dec[latents]

        def change(value: Tensor, read: Tensor) -> Tensor:
            if self._reads == self._gives and self._name != "add":
                self._found = activations_of(self._coder, value[:, first:], latents)
            found = value.new_zeros(value[:, first:].shape[:2]) if self._name == "add" else self.taken()
            edited = value.clone()
            edited[:, first:] = steer(value[:, first:], activation_change(self._name, found, strengths), directions)
            return edited

        if self._reads == self._gives or self._name == "add":
            return {self._gives: change}
        self._found = None
        return {**self.measuring(latents, first), self._gives: change}
