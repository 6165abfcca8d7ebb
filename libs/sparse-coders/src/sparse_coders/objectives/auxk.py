"""The auxiliary loss that revives dead latents: Gao et al. (arXiv 2406.04093), appendix A.2.

The k_aux strongest dead latents of each token predict what the living ones left over:
auxk = scale * |residual - decode(dead acts)|^2 / V, with k_aux = d_model / 2, V the batch's total variance as in the
main loss, and scale = min(n_dead / k_aux, 1), so that a handful of dead latents is not asked for what it cannot give
(sparsify's rule). The residual is a constant. Unlike in sparsify 1.3.3, encoder rows get their gradient too: without it
a latent that never fires keeps never firing.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.pairs import Pairs, decoded, selected
from sparse_coders.objectives.selection import Encoder
from sparse_coders.options import Autocast
from sparse_coders.sparse_coder import SparseCoder


def auxk_loss(
    coder: SparseCoder,
    b_enc: Float[Tensor, " d_sae"],
    centred: Float[Tensor, "n d_model"],
    residual: Float[Tensor, "n d_out"],
    dead: Int64[Tensor, " n_dead"],
    variance: Float[Tensor, ""],
    autocast: Autocast,
) -> Float[Tensor, ""]:
    """Returns the loss, to be differentiated by W_enc, b_enc, W_dec and, of an autoencoder, b_dec."""
    k_aux = max(1, coder.d_model // 2)
    own = Encoder(coder.W_enc[dead], b_enc[dead], autocast).strongest_of_each(centred, k_aux)
    pairs = Pairs(own.acts, dead[own.latents], own.tokens, own.n, coder.d_sae)
    guess = decoded(selected(coder, b_enc, centred, pairs), coder.W_dec, pairs)
    return min(len(dead) / k_aux, 1.0) * (guess - residual).square().sum() / variance
