"""A model, a coder and prompts of several latents: passes in which each line's own latent is changed."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from dragoman.errors import UserTaskError
from hooked_models.models import LoadedModel
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from activation.core.intervention import LatentEdit
from activation.core.kl_search import KlSearch
from activation.core.next_token import Sampler, kl_divergence
from activation.core.prefixes import Edits, Lines, Prefixes, Reading
from activation.core.unembed import Unembedding
from activation.effects_prompts import Prompt
from activation.spec import EffectsSpec

Strengths = Float64[np.ndarray, " latents"]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Prompts of equal length, of any latents, and what the model says after them when nothing is changed."""

    prompts: Sequence[Prompt]
    slots: Int64[np.ndarray, " batch"]
    """Place of each prompt's latent among the latents of the task."""
    latents: Int64[Tensor, " batch"]
    prefix: Reading
    """What comes before the first token that is steered."""
    rest: Int64[Tensor, "batch pos"]
    clean: Float[Tensor, "batch vocab"]
    """Logits after the prompt."""
    activations: Float[Tensor, " batch"]
    """Of each line's own latent at the last token."""


class Bench:
    """Runs passes. Holds, for all prompts of a task, what the model keeps of their tokens, and one row of logits."""

    def __init__(self, spec: EffectsSpec, model: LoadedModel, coder: Any, hookpoints: tuple[str, str]) -> None:
        """`hookpoints`: what the coder reads and what it gives; one twice for an autoencoder.

        Raises UserTaskError for a model whose hidden states cannot be told from its logits.
        """
        self._spec = spec
        self._device = model.device
        try:
            self.unembedding = Unembedding(model.whole, model.base)
        except ValueError as error:
            raise UserTaskError(str(error), reason="MODEL_UNSUPPORTED") from error
        self._edit = LatentEdit(coder, model.inner(hookpoints[0]), model.inner(hookpoints[1]), spec.intervention)
        self.occurrences = model.occurrences()
        self.prefixes = Prefixes(model.base, self.unembedding, self.occurrences)

    def groups(self, prompts: Sequence[Prompt], slot_of: dict[int, int], bos: int | None) -> Iterator[Group]:
        """Reads prompts, at most `batch_size` of equal length at a time, the longest first.

        Raises UserTaskError when the model's logits are not finite.
        """
        order = sorted(prompts, key=lambda p: (-len(p.tokens), slot_of[p.latent], p.number))
        for _, same in groupby(order, key=lambda p: len(p.tokens)):
            equal = list(same)
            for at in range(0, len(equal), self._spec.batch_size):
                yield self._group(equal[at : at + self._spec.batch_size], slot_of, bos)

    def _group(self, prompts: Sequence[Prompt], slot_of: dict[int, int], bos: int | None) -> Group:
        lead = [] if bos is None else [bos]
        ids = torch.tensor([[*lead, *p.tokens.tolist()] for p in prompts], dtype=torch.int64, device=self._device)
        lines = Lines(ids, [p.row for p in prompts], [p.start - len(lead) for p in prompts])
        latents = torch.tensor([p.latent for p in prompts], dtype=torch.int64, device=self._device)
        count = ids.shape[1] - 1 if self._spec.positions == "last" else len(lead)
        prefix = self.prefixes.start(lines, count)
        rest = ids[:, count:]
        _, states = self.prefixes.extend(prefix, rest, lambda first: self._edit.measuring(latents, first))
        clean = self.unembedding.logits(states)
        if not bool(torch.isfinite(clean.sum(dtype=torch.float64))):
            raise UserTaskError(
                f"the model gives NaN or infinite logits after a prompt from one of rows {sorted(set(lines.rows))}; "
                "a wider dtype may help",
                reason="ACTIVATION_NOT_FINITE",
            )
        slots = np.asarray([slot_of[p.latent] for p in prompts])
        return Group(prompts, slots, latents, prefix, rest, clean, self._edit.taken()[:, -1].cpu())

    def edits(self, group: Group, strengths: Strengths) -> Edits:
        """Returns the edits of a group's lines; strengths are absolute, one for each latent of the task."""
        own = torch.tensor(strengths[group.slots], dtype=torch.float32, device=self._device)
        return lambda first: self._edit.changing(group.latents, own, first)

    def read(self, group: Group, edits: Edits | None) -> tuple[Reading, Float[Tensor, "batch vocab"]]:
        """Returns what the model has read at the end of the prompts, and its logits there."""
        reading, states = self.prefixes.extend(group.prefix, group.rest, edits)
        return reading, self.unembedding.logits(states)

    def go_on(
        self, group: Group, reading: Reading, logits: Float[Tensor, "batch vocab"], edits: Edits | None
    ) -> Iterator[Int64[Tensor, " batch"]]:
        """Yields the tokens that follow the prompts, one of each line at a time; each is steered as it is read."""
        keys = [(p.latent, p.row, p.start) for p in group.prompts]
        sampler = Sampler(keys, self._spec.seed, self._spec.temperature)
        for step in range(self._spec.new_tokens):
            tokens = sampler.draw(logits)
            yield tokens
            if step + 1 < self._spec.new_tokens:
                reading, states = self.prefixes.extend(reading, tokens[:, None], edits)
                logits = self.unembedding.logits(states)

    def search(self, groups: Sequence[Group], maxima: Strengths) -> Generator[int, None, KlSearch]:
        """Returns the search for the KL targets when it is over; strengths in it are multiples of the maxima.

        Yields the number of the step after each pass.
        """
        spec = self._spec
        search = KlSearch(len(maxima), spec.kl_targets, spec.kl_tolerance, spec.search_steps)
        step = 0
        while (is_open := search.open).any():
            step += 1
            multiples, kl = search.strengths(), np.full(is_open.shape, np.nan)
            for target in range(len(spec.kl_targets)):
                sums, counts = np.zeros(len(maxima)), np.zeros(len(maxima))
                for group in groups:
                    if not is_open[group.slots, target].any():
                        continue
                    found = self.kl(group, multiples[:, target] * maxima)
                    np.add.at(sums, group.slots, found)
                    np.add.at(counts, group.slots, 1)
                    yield step
                kl[:, target] = np.divide(sums, counts, out=kl[:, target], where=counts > 0)
            search.tell(kl)
        return search

    def kl(self, group: Group, strengths: Strengths) -> Float64[np.ndarray, " batch"]:
        """Returns KL(clean || changed) of the next token after each prompt, nats."""
        _, logits = self.read(group, self.edits(group, strengths))
        return kl_divergence(group.clean.log_softmax(-1), logits.log_softmax(-1)).cpu().numpy()
