"""Training a TopK coder with Adam in compiled kernels: nothing of the size of the weights is made but the weights.

A batch passes twice. First in tiles of tokens: the k strongest latents, searched in one part of the dictionary after
the other, then reconstruction and derivative by the activations. Then in groups of latents: the gradient of a latent's
rows is summed over its tokens and at once projected, stepped by Adam and renormalised, row by row.

Sums over tokens go in the order of tokens and sums over latents in groups of a fixed size, so that a run does not
depend on the number of threads.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from dense_products import linear
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sparse_coders.auxk import auxk_rows
from sparse_coders.coder_trainer import CoderTrainer, StepReport
from sparse_coders.kernels.adam import Adam, Extra, Moments, Pairs, adam_row, update_latents
from sparse_coders.kernels.by_latent import pairs_by_latent
from sparse_coders.kernels.decoding import centre, decode
from sparse_coders.kernels.encoder_search import EncoderSearch
from sparse_coders.kernels.rounded_encoder import has_fast_bfloat16, tile_rows_of
from sparse_coders.kernels.workers import Workers
from sparse_coders.options import TrainerOptions
from sparse_coders.topk_coder import TopKCoder

_GROUP = 256
"""Latents that one thread updates at a time."""
_SKIP_GROUP = 64
"""Rows of W_skip that one thread updates at a time."""


class _Sums(NamedTuple):
    """Sums over the tokens of one tile, or of all."""

    square: float
    rows: Float64[np.ndarray, " d_out"]
    fired: int = 0


class _Batch(NamedTuple):
    """A batch between the two passes."""

    centred: Float[Tensor, "n d_model"]
    error: Float[Tensor, "n d_out"]
    acts: Float[Tensor, "n k"]
    d_acts: Float[Tensor, "n k"]
    latents: Int64[Tensor, "n k"]


def _sum_of(tiles: list[_Sums]) -> _Sums:
    """Returns all sums, taken in the order of tokens."""
    rows = np.sum([tile.rows for tile in tiles], axis=0)
    return _Sums(sum(tile.square for tile in tiles), rows, sum(tile.fired for tile in tiles))


def _grouped(batch: _Batch, d_sae: int, scale: float) -> Pairs:
    """Returns what fired by latent; activations and their derivatives are to be multiplied by the scale."""
    offsets, places = np.empty(d_sae + 1, np.int32), np.empty(batch.acts.numel(), np.int32)
    pairs_by_latent(batch.acts.numpy(), batch.latents.numpy(), offsets, places)
    k, acts, d_acts = batch.acts.shape[1], batch.acts.flatten().numpy(), batch.d_acts.flatten().numpy()
    return Pairs(offsets, places, k, acts, d_acts, np.float32(scale))


class FusedTopKTrainer(CoderTrainer):
    """`CoderTrainer` for TopK coders with Adam on a CPU, with the same states."""

    kernels = "compiled"

    def __init__(self, coder: TopKCoder, options: TrainerOptions) -> None:
        """Takes over a coder. No one else may change its weights between steps.

        Args:
            coder: Contiguous float32 weights on the CPU.
            options: How; `sparse_coders.trainers.has_kernels` must hold.
        """
        super().__init__(coder, options)
        self._k = coder.k
        self._workers = Workers()
        self._tile_rows = tile_rows_of(coder.d_sae, has_fast_bfloat16())
        self._search: EncoderSearch | None = None
        self._seen: tuple[int, ...] = ()
        self._batch: _Batch | None = None

    @torch.no_grad()
    def step(self, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], learning_rate: float) -> StepReport:
        """Trains on a batch, see `CoderTrainer.step`."""
        is_dead = self._idle_tokens >= self.options.dead_tokens
        search, batch = self._current_search(), self._memory_for(x)
        tiles = [slice(start, start + self._tile_rows) for start in range(0, len(x), self._tile_rows)]
        target = _sum_of(self._workers.each(lambda tile: self._centre(batch, y, tiles[tile]), len(tiles)))
        search.strongest(self._workers, batch.centred, batch.acts, batch.latents)
        error = _sum_of(self._workers.each(lambda tile: self._decode(batch, tiles[tile]), len(tiles)))
        # Never below 0 by rounding; tokens that are all the same have none, and an FVU that is not a number.
        variance = max(target.square - float(target.rows @ target.rows) / len(x), 0.0) or math.nan
        pairs = _grouped(batch, self.coder.d_sae, 2 / variance)
        auxk, extra = self._auxiliary(batch, is_dead.nonzero().flatten(), variance)
        adam = self._adam(learning_rate)
        self._step_rows(pairs, batch, extra, error.rows * (2 / variance), adam)
        if self.coder.W_skip is not None:
            self._step_skip(batch, 2 / variance, adam)
        self._idle_tokens.add_(len(x)).masked_fill_(torch.as_tensor(np.diff(pairs.offsets) > 0), 0)
        self._token_count += len(x)
        self._step_count += 1
        fvu = error.square / variance
        loss = fvu + self.options.auxk_alpha * auxk
        return StepReport(loss, fvu, error.fired / len(x), float(is_dead.float().mean()))

    def _centre(self, batch: _Batch, y: Float[Tensor, "n d_out"], tile: slice) -> _Sums:
        """Takes b_dec from one tile of what shall be given, which an autoencoder also reads; then what is skipped."""
        target, sums = self._target(batch, tile), np.empty(self.coder.d_out)
        square = centre(y[tile].numpy(), self.coder.b_dec.detach().numpy(), target, sums)
        if self.coder.W_skip is not None:
            with torch.no_grad():  # of this thread
                batch.error[tile] -= linear(batch.centred[tile], self.coder.W_skip)
        return _Sums(square, sums)

    def _decode(self, batch: _Batch, tile: slice) -> _Sums:
        """Reconstructs one tile of tokens."""
        target, sums = self._target(batch, tile), np.empty(self.coder.d_out)
        _, error, acts, d_acts, latents = (values[tile].numpy() for values in batch)
        square, fired = decode(acts, latents, self.coder.W_dec.detach().numpy(), target, error, d_acts, sums)
        return _Sums(square, sums, fired)

    def _target(self, batch: _Batch, tile: slice) -> Float[np.ndarray, "rows d_out"]:
        """Returns where the target of a tile is kept; a transcoder's error takes its place."""
        return (batch.error if self.coder.transcoder else batch.centred)[tile].numpy()

    def _auxiliary(self, batch: _Batch, dead: Int64[Tensor, " n_dead"], variance: float) -> tuple[float, Extra]:
        """Returns the auxiliary loss and its gradients, which are as many rows as latents are dead."""
        coder, rows = self.coder, torch.full((self.coder.d_sae,), -1, dtype=torch.int32)
        assert isinstance(coder, TopKCoder)
        if not len(dead) or not self.options.auxk_alpha:
            nothing = np.empty((0, 0), np.float32)
            return 0.0, Extra(rows.numpy(), nothing, nothing.ravel(), nothing)
        rows[dead] = torch.arange(len(dead), dtype=torch.int32)
        aux = auxk_rows(coder, batch.centred, -batch.error, dead, torch.tensor(variance), self.options.auxk_alpha)
        return float(aux.loss), Extra(rows.numpy(), aux.W_enc.numpy(), aux.b_enc.numpy(), aux.W_dec.numpy())

    def _step_rows(
        self, pairs: Pairs, batch: _Batch, extra: Extra, d_b_dec: Float64[np.ndarray, " d_out"], adam: Adam
    ) -> None:
        """Steps all parameters."""
        coder, moments = self.coder, self._moments()
        unit, encoder = self.options.unit_decoder(coder), self._current_search().encoder
        centred, error = batch.centred.numpy(), batch.error.numpy()
        latents = moments["W_enc"], moments["b_enc"], moments["W_dec"]

        def group(place: int) -> Float64[np.ndarray, " d_model"]:
            first, through_encoder = place * _GROUP, np.empty(coder.d_model)
            end = min(first + _GROUP, coder.d_sae)
            norms = encoder.norms, encoder.lost
            update_latents(first, end, adam, pairs, centred, error, extra, unit, *latents, *norms, through_encoder)
            return through_encoder

        through_encoder = np.sum(self._workers.each(group, -(-coder.d_sae // _GROUP)), axis=0)
        gradient = d_b_dec if coder.transcoder else d_b_dec - through_encoder
        adam_row(adam, gradient.astype(np.float32), *moments["b_dec"])

    def _step_skip(self, batch: _Batch, scale: float, adam: Adam) -> None:
        """Steps W_skip, some rows at a time, each by the sum over all tokens."""
        moments = self._moments()["W_skip"]

        @torch.no_grad()
        def group(place: int) -> None:
            rows = slice(place * _SKIP_GROUP, (place + 1) * _SKIP_GROUP)
            gradient = linear(batch.error[:, rows].T, batch.centred.T) * scale
            adam_row(adam, gradient.flatten().numpy(), *(values[rows].ravel() for values in moments))

        self._workers.each(group, -(-self.coder.d_out // _SKIP_GROUP))

    def _adam(self, learning_rate: float) -> Adam:
        """Counts a step of the optimiser and returns what it does."""
        state = self._optimiser.state()
        for name, _ in self.coder.named_parameters():
            state[f"adam.{name}.step"] += 1
        count = state["adam.W_enc.step"].item()
        beta1, beta2 = self.options.momentum, self.options.beta2
        size, correction = learning_rate / (1 - beta1**count), (1 - beta2**count) ** 0.5
        return Adam(*(np.float32(value) for value in (1 - beta1, beta2, 1 - beta2, size, correction, 1e-8)))

    def _moments(self) -> dict[str, Moments]:
        state = self._optimiser.state()
        return {
            name: Moments(
                value.detach().numpy(),
                state[f"adam.{name}.exp_avg"].numpy(),
                state[f"adam.{name}.exp_avg_sq"].numpy(),
            )
            for name, value in self.coder.named_parameters()
        }

    def _current_search(self) -> EncoderSearch:
        """Returns the search of the encoder as it is; reads it again when the weights were exchanged for others."""
        W_enc, b_enc = self.coder.W_enc, self.coder.get_parameter("b_enc")
        seen = (W_enc.data_ptr(), W_enc._version, b_enc.data_ptr())
        if self._search is None or self._seen != seen:
            self._search, self._seen = EncoderSearch(W_enc, b_enc, self._k, has_fast_bfloat16()), seen
        return self._search

    def _memory_for(self, x: Float[Tensor, "n d_model"]) -> _Batch:
        """Returns memory for what is known of a batch between the passes, the last batch's where it fits."""
        n, coder = len(x), self.coder
        if self._batch is None or len(self._batch.acts) != n:
            self._batch = _Batch(
                x if coder.transcoder else torch.empty(n, coder.d_model),
                torch.empty(n, coder.d_out),
                torch.empty(n, self._k),
                torch.empty(n, self._k),
                torch.empty(n, self._k, dtype=torch.int64),
            )
        return self._batch._replace(centred=x) if coder.transcoder else self._batch
