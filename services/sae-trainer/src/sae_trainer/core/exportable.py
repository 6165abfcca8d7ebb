"""Which coders the libraries have whose files we write, told from a coder's statistics alone."""

from collections.abc import Mapping
from typing import Any

_SAELENS = ("relu", "topk", "jumprelu", "gated", "batch_topk", "matryoshka_batch_topk")
"""BatchTopK and Matryoshka coders as JumpReLU ones with one threshold, as SAELens itself saves them."""
_SAELENS_TRANSCODERS = ("relu", "jumprelu", "batch_topk", "matryoshka_batch_topk")


def refusal(layout: str, coder: Mapping[str, Any]) -> str | None:
    """Returns why a library has no such coder; None where it has.

    Args:
        layout: "sparsify" or "saelens".
        coder: Statistics of a coder artifact: `architecture`, `transcoder`, `d_model`, `d_out`.
    """
    architecture, transcoder = str(coder["architecture"]), bool(coder.get("transcoder"))
    what = f"{architecture} {'transcoders' if transcoder else 'autoencoders'}"
    if layout == "sparsify":
        if architecture != "topk":
            return f"sparsify has no {what}, only topk coders; export to saelens"
        d_model, d_out = int(coder["d_model"]), int(coder.get("d_out") or coder["d_model"])
        if d_out != d_model:
            return f"sparsify has no transcoders whose output ({d_out}) is not as wide as their input ({d_model})"
        return None
    known = _SAELENS_TRANSCODERS if transcoder else _SAELENS
    if architecture not in known:
        other = "; export to sparsify" if architecture == "topk" else ""
        return f"SAELens has no {what}, only those of {', '.join(known)}{other}"
    return None
