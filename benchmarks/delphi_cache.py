"""The cache stage of eai-delphi 0.1.3, step by step, so that it can be timed without its 219 packages.

`delphi.latents.cache.LatentCache.run` and `save_splits`, with `sae_dense_latents` and the encoder of eai-sparsify: the
whole model runs with a hook (no early exit), the top-k latents are scattered into a dense buffer of tokens x d_sae,
nonzero() and a mask find them again, firing counts are taken of the dense buffer, everything is kept in lists and
joined at the end, and each of `n_splits` ranges of latents is masked out and written with all tokens beside it. On a
small model its files were byte for byte those of the package's own `LatentCache`.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors.numpy import save_file
from sparse_coders import TopKCoder
from torch import Tensor, nn

N_SPLITS = 5


def peer_coder(coder: TopKCoder) -> Any:
    """Returns eai-sparsify's coder with the same weights."""
    with contextlib.redirect_stdout(io.StringIO()):
        import sparsify
    peer = sparsify.SparseCoder(coder.d_model, sparsify.SparseCoderConfig(num_latents=coder.d_sae, k=coder.k))
    with torch.no_grad():
        peer.encoder.weight.copy_(coder.W_enc)
        peer.encoder.bias.copy_(coder.b_enc)
        peer.b_dec.copy_(coder.b_dec)
    return peer


def _dense_latents(x: Float[Tensor, "batch pos d"], coder: Any) -> Float[Tensor, "batch pos d_sae"]:
    flat = x.reshape(-1, x.shape[-1])
    encoded = coder.encode(flat)
    buffer = torch.zeros(flat.shape[0], coder.num_latents, dtype=flat.dtype)
    buffer = buffer.scatter_(-1, encoded.top_indices, encoded.top_acts.to(buffer.dtype))
    return buffer.reshape(*x.shape[:-1], -1)


class _Lists:
    """What delphi's InMemoryCache holds for one hookpoint."""

    def __init__(self) -> None:
        self.locations: list[Tensor] = []
        self.activations: list[Tensor] = []
        self.tokens: list[Tensor] = []
        self.firing_counts: Tensor | None = None

    def add(
        self, latents: Float[Tensor, "batch pos d_sae"], tokens: Int64[Tensor, "batch pos"], first_row: int
    ) -> None:
        locations = torch.nonzero(latents.abs() > 1e-5)
        activations = latents[latents.abs() > 1e-5]
        locations[:, 0] += first_row
        self.locations.append(locations)
        self.activations.append(activations)
        self.tokens.append(tokens)
        counts = (latents.cpu() > 0).sum((0, 1))
        self.firing_counts = counts if self.firing_counts is None else self.firing_counts + counts


@torch.no_grad()
def cache(model: nn.Module, layer: str, coder: Any, batches: Sequence[Int64[Tensor, "batch pos"]], folder: Path) -> int:
    """Runs delphi's cache stage over batches of rows; returns the bytes that it wrote."""
    lists, found = _Lists(), dict[str, Tensor]()

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        found["x"] = output[0] if isinstance(output, tuple) else output

    for number, batch in enumerate(batches):
        handle = model.get_submodule(layer).register_forward_hook(hook)
        try:
            model(batch)
        finally:
            handle.remove()
        lists.add(_dense_latents(found["x"], coder), batch, number * len(batches[0]))
    return _save_splits(lists, coder.num_latents, folder)


def _save_splits(lists: _Lists, width: int, folder: Path) -> int:
    locations, activations = torch.cat(lists.locations), torch.cat(lists.activations)
    tokens = torch.cat(lists.tokens).numpy()
    latents = locations[:, 2]
    bounds = torch.linspace(0, width, steps=N_SPLITS + 1).long()
    for start, end in zip(bounds[:-1], bounds[1:] - 1, strict=True):
        mask = (latents >= start) & (latents <= end)
        own = locations[mask].numpy()
        own[:, 2] = own[:, 2] - start.item()
        narrow = own[:, 2].max() < 2**16 and own[:, 0].max() < 2**16
        split = {
            "locations": own.astype(np.uint16 if narrow else np.uint32),
            "activations": activations[mask].half().numpy(),
            "tokens": tokens,
        }
        save_file(split, folder / f"{start}_{end}.safetensors")
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
