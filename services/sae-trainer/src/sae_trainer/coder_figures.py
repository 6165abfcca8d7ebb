"""What a coder artifact's statistics say of the coder itself."""

from dragoman.ids import Json
from sparse_coders import SparseCoder


def coder_figures(coder: SparseCoder, hookpoint: str, output_hookpoint: str) -> dict[str, Json]:
    """Returns what a coder artifact's statistics say of the coder itself."""
    return {
        "architecture": coder.architecture,
        "d_model": coder.d_model,
        "d_out": coder.d_out,
        "d_sae": coder.d_sae,
        "k": coder.k,
        "hookpoint": hookpoint,
        "output_hookpoint": output_hookpoint,
        "transcoder": coder.transcoder,
    }
