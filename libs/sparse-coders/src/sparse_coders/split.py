"""How the processes of a group share a step: by the tokens of a batch, or by the latents of the coder.

By tokens, every process has the whole coder and works on its rows of a batch; gradients are summed. By latents, each
has the rows of d_sae / size latents of every parameter that has such rows; it sees every token, latents are chosen
among those of all processes, and reconstructions are summed. b_dec, W_skip and BatchTopK's threshold are everywhere
the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sparse_coders.batch_topk_coder import MatryoshkaCoder
from sparse_coders.errors import InvalidOption
from sparse_coders.form import assembled, form_of
from sparse_coders.group import Group
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder


@dataclass(frozen=True, slots=True)
class Split:
    """Two groups, of which at most one has more than one process."""

    tokens: Group = field(default_factory=Group)
    latents: Group = field(default_factory=Group)

    @property
    def everyone(self) -> Group:
        """All processes."""
        return self.tokens if self.tokens.size > 1 else self.latents


def check_shard(coder: SparseCoder, options: TrainerOptions, size: int) -> None:
    """Raises InvalidOption when a coder's latents cannot be divided among so many processes."""
    if coder.d_sae % size:
        raise InvalidOption(f"d_sae is {coder.d_sae}, no multiple of the {size} processes that share its latents")
    own, k = coder.d_sae // size, coder.k or options.k or options.target_l0 or 0
    if k > own:
        raise InvalidOption(f"{k:g} latents fire for a token, but each of {size} processes has {own}; use fewer")
    if options.optimiser == "muon":
        raise InvalidOption("muon orthogonalises whole matrices; divide the tokens instead of the latents")


def shard_of(coder: SparseCoder, rank: int, size: int) -> SparseCoder:
    """Returns the coder that one of `size` processes trains: a copy of its latents' rows, and of what all have."""
    own = coder.d_sae // size
    form = replace(form_of(coder), d_sae=own, widths=(own,) if isinstance(coder, MatryoshkaCoder) else ())
    weights = {f"weights.{name}": value for name, value in coder.named_parameters()}
    rows = shard_of_state(weights, divided_names(coder), rank, size)
    named = {name.removeprefix("weights."): value for name, value in rows.items()}
    shard = assembled(form, named, coder.dtype, coder.device)
    if isinstance(coder, MatryoshkaCoder):
        assert isinstance(shard, MatryoshkaCoder)
        # Where the widths end among these latents; some may have none here, and others all.
        shard.widths = tuple(min(max(width - rank * own, 0), own) for width in coder.widths)
    return shard


def divided_names(coder: SparseCoder) -> frozenset[str]:
    """Returns the parameters that have a row for each latent."""
    return frozenset({"W_enc", "W_dec"} | {name for name, shape in coder.own_shapes().items() if shape})


def shard_of_state(state: Mapping[str, Tensor], divided: frozenset[str], rank: int, size: int) -> dict[str, Tensor]:
    """Returns one process's rows of a `CoderTrainer.state` of the whole coder."""
    return {
        name: value.chunk(size)[rank] if _is_divided(name, value, divided) else value for name, value in state.items()
    }


def joined_state(shards: Sequence[Mapping[str, Tensor]], divided: frozenset[str]) -> dict[str, Tensor]:
    """Returns the state of the whole coder from those of all processes, in the order of their ranks."""
    return {
        name: torch.cat([shard[name] for shard in shards]) if _is_divided(name, value, divided) else value
        for name, value in shards[0].items()
    }


def _is_divided(name: str, value: Tensor, divided: frozenset[str]) -> bool:
    """Tensors are called "weights.W_enc", "adam.W_enc.exp_avg", "idle_tokens"."""
    of = name.split(".")
    return value.ndim > 0 and (name == "idle_tokens" or (len(of) > 1 and of[1] in divided))
