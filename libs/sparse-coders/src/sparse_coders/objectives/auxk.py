"""The auxiliary loss that revives dead latents: Gao et al. (arXiv 2406.04093), appendix A.2.

The k_aux strongest dead latents of each token predict what the living ones left over:
auxk = scale * |residual - decode(dead acts)|^2 / V, with k_aux = d_model / 2, V the batch's total variance as in the
main loss, and scale = min(n_dead / k_aux, 1), so that a handful of dead latents is not asked for what it cannot give
(sparsify's rule). The residual is a constant. Unlike in sparsify 1.3.3, encoder rows get their gradient too: without it
a latent that never fires keeps never firing.

Two functions compute it. `auxk_loss` is for whoever has a gradient as large as the weights to add to: only pairs that
fired are looked at, and the derivative is autograd's. `sparse_coders.auxk.auxk_rows` is for kernels that have no such
gradient: rows of the dead latents alone, by dense products, which is less work on a CPU while few are dead.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.objective import Objective, Pass
from sparse_coders.objectives.pairs import Pairs
from sparse_coders.objectives.selection import Encoder


def auxk_size(d_model: int, dead_count: int) -> tuple[int, float]:
    """Returns k_aux and scale for so many dead latents of all processes."""
    k_aux = max(1, d_model // 2)
    return k_aux, min(dead_count / k_aux, 1.0)


def auxk_loss(
    objective: Objective,
    centred: Float[Tensor, "n d_model"],
    residual: Float[Tensor, "n d_out"],
    dead: Int64[Tensor, " n_dead"],
    batch: Pass,
) -> Float[Tensor, ""] | None:
    """Returns the weighted loss, to be differentiated by W_enc, b_enc, W_dec and, of an autoencoder, b_dec.

    None where it has no weight, or no latent of any process is dead.
    """
    coder, options = objective.coder, objective.options
    dead_count = sum(objective.split.latents.counts(len(dead), dead.device))
    if not dead_count or not options.auxk_alpha:
        return None
    k_aux, scale = auxk_size(coder.d_model, dead_count)
    b_enc = coder.get_parameter("b_enc")
    own = Encoder(coder.W_enc[dead], b_enc[dead], options.autocast, objective.split).strongest_of_each(centred, k_aux)
    pairs = Pairs(own.acts, dead[own.latents], own.tokens, own.n, coder.d_sae)
    guess = objective.decoded(objective.selected(centred, pairs, batch), pairs, batch)
    return options.auxk_alpha * scale * (guess - residual).square().sum() / batch.variance
