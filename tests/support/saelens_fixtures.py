"""Writes tests/unit/sparse_coders/saelens with SAELens itself: tiny coders, inputs, and what SAELens makes of them.

Needs `pip install sae-lens==6.54.12`, which nothing else here does: run it in an environment of its own with
`python tests/support/saelens_fixtures.py FOLDER`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

D_MODEL, D_SAE, D_OUT = 8, 16, 6
METADATA = {"model_name": "pythia-70m", "hook_name": "blocks.3.hook_resid_post", "prepend_bos": True}
OUT = {"hook_name": "blocks.3.hook_mlp_in", "hook_name_out": "blocks.3.hook_mlp_out", "d_out": D_OUT}
CASES: dict[str, dict[str, Any]] = {
    "standard": {"architecture": "standard"},
    "standard_no_b_dec": {"architecture": "standard", "apply_b_dec_to_input": False},
    "topk": {"architecture": "topk", "k": 3},
    "topk_rescaled": {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True},
    "jumprelu": {"architecture": "jumprelu"},
    "gated": {"architecture": "gated"},
    "gated_no_b_dec": {"architecture": "gated", "apply_b_dec_to_input": False},
    "transcoder": {"architecture": "transcoder"},
    "skip_transcoder": {"architecture": "skip_transcoder"},
    "jumprelu_transcoder": {"architecture": "jumprelu_transcoder"},
    "jumprelu_skip_transcoder": {"architecture": "jumprelu_skip_transcoder"},
}
TRAINING_CASES: dict[str, dict[str, Any]] = {
    "batchtopk": {"architecture": "batchtopk", "k": 3.0, "rescale_acts_by_decoder_norm": True},
    "matryoshka_batchtopk": {"architecture": "matryoshka_batchtopk", "k": 3.0, "matryoshka_widths": [4, 16]},
}
"""What SAELens saves for inference as JumpReLU."""


def randomised(sae: Any) -> Any:
    """Fills every parameter of a SAELens coder with values of which about a third of the latents fire."""
    generator = torch.Generator().manual_seed(0)
    for name, value in sorted(sae.state_dict().items()):
        value.copy_(torch.randn(value.shape, generator=generator) * (0.3 if name != "W_dec" else 1.0))
        if "threshold" in name:
            value.abs_()
    return sae


def expected(sae: Any, folder: Path) -> None:
    """Stores an input and what SAELens gives for it."""
    x = torch.randn(12, D_MODEL, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        save_file({"x": x, "acts": sae.encode(x), "output": sae(x)}, folder / "expected.safetensors")


def main(root: Path) -> None:
    """Writes every case."""
    from sae_lens import SAE, TrainingSAE

    for name, case in CASES.items():
        more = OUT | {"apply_b_dec_to_input": False} if "transcoder" in name else {}
        metadata = METADATA | {key: value for key, value in more.items() if key.startswith("hook")}
        sae = randomised(SAE.from_dict({"d_in": D_MODEL, "d_sae": D_SAE, "metadata": metadata, **more, **case}))
        sae.save_model(root / name)
        expected(sae, root / name)
    for name, case in TRAINING_CASES.items():
        sae = randomised(TrainingSAE.from_dict({"d_in": D_MODEL, "d_sae": D_SAE, "metadata": METADATA, **case}))
        sae.save_model(root / f"{name}_training")
        sae.save_inference_model(root / name)
        saved = SAE.load_from_disk(root / name)
        for folder in (root / name, root / f"{name}_training"):
            expected(saved, folder)
    for path in root.glob("*/cfg.json"):
        path.write_text(json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
