"""Passes in which a coder's reconstruction, zero or the mean stands in for a hookpoint, and their losses by row."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from dragoman.errors import UserTaskError
from jaxtyping import Bool, Float, Float64, Int32
from torch import Tensor, nn

from activation.core.comparison import compare, predicted_positions
from activation.core.replacing import CleanPass, Replacer
from activation.core.unembed import Unembedding

_ARMS_TOGETHER = 16
"""Arms whose last hidden states are held at a time; the original's logits are made once for all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class StandIn:
    """A coder in its place. Hookpoints are named from the base model."""

    name: str
    reconstruct: Callable[[Float[Tensor, "n d_in"]], Float[Tensor, "n d_out"]]
    reads: str
    replaces: str
    """Equals `reads` for an autoencoder."""


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    clean: CleanPass
    where: Bool[Tensor, "rows pos"]
    rows: Int32[np.ndarray, " tokens"]
    """Of each counted position, from 0."""
    predicted: Bool[Tensor, "rows pos"]
    predicted_rows: Int32[np.ndarray, " n"]
    first_row: int


_ByRow = tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, " rows"]]
"""Totals of CE and KL."""


class Arms:
    """Measures stand-ins, each against the same clean pass. Stand-ins at one hookpoint share its ablations."""

    def __init__(
        self,
        unembedding: Unembedding,
        base: nn.Module,
        stand_ins: Sequence[StandIn],
        means: Mapping[str, Float64[Tensor, " d"]],
    ) -> None:
        """`means`: of the value of each replaced hookpoint. Raises ValueError for an unknown hookpoint."""
        self._unembedding = unembedding
        self._stand_ins = stand_ins
        self._means = means
        self._replaced = list(dict.fromkeys(s.replaces for s in stand_ins))
        self._replacer = Replacer(unembedding, base, [s.reads for s in stand_ins], self._replaced)
        self._vocab_size = 0

    @torch.no_grad()
    def sums(
        self,
        tokens: Int32[np.ndarray, "rows pos"],
        documents: Int32[np.ndarray, "rows pos"],
        first_row: int,
        device: torch.device,
    ) -> Generator[float, None, dict[str, Float64[np.ndarray, "stand_ins rows"]]]:
        """Yields the share of the passes that is done, from time to time; returns the totals that
        `activation.core.fidelity.SUMS` names.

        Counted positions (`documents` >= 0) are replaced; the others keep what the hookpoint gives. Raises
        UserTaskError when a value is not finite, and ValueError for a hookpoint that has no vector per token.
        """
        batch = self._clean(tokens, documents, first_row, device)
        shape = (len(self._stand_ins), len(tokens))
        found = {
            "token_count": np.broadcast_to(np.bincount(batch.rows, minlength=len(tokens)), shape),
            "predicted_count": np.broadcast_to(np.bincount(batch.predicted_rows, minlength=len(tokens)), shape),
        }
        errors: list[Float64[np.ndarray, " rows"]] = []
        by_arm: dict[tuple[str, int], _ByRow] = {}
        for arm, losses in self._losses(batch, errors):
            by_arm[arm] = losses
            yield len(by_arm) / (1 + 2 * len(self._replaced) + len(self._stand_ins))
        found["ce_original"] = np.broadcast_to(by_arm["original", 0][0], shape)
        for arm in ("coder", "zero", "mean"):
            places = [i if arm == "coder" else self._replaced.index(s.replaces) for i, s in enumerate(self._stand_ins)]
            found[f"ce_{arm}"] = np.stack([by_arm[arm, place][0] for place in places])
            found[f"kl_{arm}"] = np.stack([by_arm[arm, place][1] for place in places])
        found["squared_error"] = np.stack(errors)
        found["squared_distance"] = np.stack([self._distance(batch, s.replaces) for s in self._stand_ins])
        return {name: values.astype(np.float64) for name, values in found.items()}

    def _clean(
        self,
        tokens: Int32[np.ndarray, "rows pos"],
        documents: Int32[np.ndarray, "rows pos"],
        first_row: int,
        device: torch.device,
    ) -> _Batch:
        clean = self._replacer.clean(torch.from_numpy(tokens.astype(np.int64)).to(device))
        counted, predicted = documents >= 0, predicted_positions(documents)
        batch = _Batch(
            clean,
            torch.from_numpy(counted).to(device),
            counted.nonzero()[0].astype(np.int32),
            torch.from_numpy(predicted).to(device),
            predicted.nonzero()[0].astype(np.int32),
            first_row,
        )
        for name, value in clean.values.items():
            _check_finite(
                value[batch.where].sum(-1, dtype=torch.float64), batch.rows, first_row, f"the model at {name}"
            )
        if not self._vocab_size:
            self._vocab_size = self._unembedding.logits(clean.states[0, :1]).shape[1]
        return batch

    def _passes(
        self, batch: _Batch, errors: list[Float64[np.ndarray, " rows"]]
    ) -> Iterator[tuple[str, int, Float[Tensor, "n d_model"]]]:
        """Yields each arm's name, its place among its like and its last hidden states; notes the coders' errors."""
        for place, name in enumerate(self._replaced):
            width = batch.clean.values[name].shape[-1]
            for arm, by in (("zero", torch.zeros(width)), ("mean", self._means[name])):
                states = self._replacer.replaced(batch.clean, name, batch.where, by)
                yield arm, place, states[batch.predicted]
        for place, stand_in in enumerate(self._stand_ins):
            by = self._reconstruction(batch, stand_in)
            errors.append(_squares(batch.clean.values[stand_in.replaces][batch.where], by, batch))
            states = self._replacer.replaced(batch.clean, stand_in.replaces, batch.where, by)
            yield "coder", place, states[batch.predicted]

    def _reconstruction(self, batch: _Batch, stand_in: StandIn) -> Float[Tensor, "n d_out"]:
        given = batch.clean.values[stand_in.replaces]
        made = stand_in.reconstruct(batch.clean.values[stand_in.reads][batch.where])
        if made.shape[-1] != given.shape[-1]:
            raise UserTaskError(
                f"{stand_in.name} gives vectors of {made.shape[-1]}, {stand_in.replaces} has {given.shape[-1]}",
                reason="CODER_MISMATCH",
            )
        _check_finite(made.sum(-1, dtype=torch.float64), batch.rows, batch.first_row, stand_in.name)
        return made

    def _losses(
        self, batch: _Batch, errors: list[Float64[np.ndarray, " rows"]]
    ) -> Iterator[tuple[tuple[str, int], _ByRow]]:
        """Yields each arm's CE and KL by row."""
        held: list[tuple[str, int, Tensor]] = []
        for arm in self._passes(batch, errors):
            held.append(arm)
            if len(held) == _ARMS_TOGETHER:
                yield from self._compared(batch, held)
                held = []
        yield from self._compared(batch, held)

    def _compared(
        self, batch: _Batch, held: Sequence[tuple[str, int, Float[Tensor, "n d_model"]]]
    ) -> Iterator[tuple[tuple[str, int], _ByRow]]:
        if not held:
            return
        clean, row_count = batch.clean, len(batch.where)
        targets = clean.input_ids.roll(-1, 1)[batch.predicted]
        losses = compare(
            self._unembedding.logits, clean.states[batch.predicted], [h[2] for h in held], targets, self._vocab_size
        )
        _check_finite(losses.original, batch.predicted_rows, batch.first_row, "the model's loss")

        def by_row(values: Tensor) -> Float64[np.ndarray, " rows"]:
            return np.bincount(batch.predicted_rows, weights=values.numpy(), minlength=row_count)

        yield ("original", 0), (by_row(losses.original), np.zeros(row_count))
        for (arm, place, _), ce, kl in zip(held, losses.arms, losses.divergence, strict=True):
            name = self._stand_ins[place].name if arm == "coder" else f"{arm} ablation of {self._replaced[place]}"
            _check_finite(ce + kl, batch.predicted_rows, batch.first_row, f"the loss under {name}")
            yield (arm, place), (by_row(ce), by_row(kl))

    def _distance(self, batch: _Batch, name: str) -> Float64[np.ndarray, " rows"]:
        value = batch.clean.values[name][batch.where]
        return _squares(value, self._means[name].to(value.device, torch.float32), batch)


def _squares(value: Float[Tensor, "n d"], other: Float[Tensor, "*n d"], batch: _Batch) -> Float64[np.ndarray, " rows"]:
    """Returns the squared distances of vectors from others, by row."""
    squares = (value.float() - other.float()).square().sum(-1, dtype=torch.float64).cpu().numpy()
    return np.bincount(batch.rows, weights=squares, minlength=len(batch.where))


def _check_finite(values: Float64[Tensor, " n"], rows: Int32[np.ndarray, " n"], first_row: int, what: str) -> None:
    wrong = torch.nonzero(~torch.isfinite(values)).reshape(-1)
    if len(wrong):
        raise UserTaskError(
            f"{what} is NaN or infinite at {len(wrong)} tokens, first in row {first_row + rows[int(wrong[0])]}; "
            "a wider dtype may help (float16 overflows beyond 65,504)",
            reason="ACTIVATION_NOT_FINITE",
        )
