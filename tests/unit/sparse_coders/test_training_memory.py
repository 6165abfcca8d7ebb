"""What a step of training takes beside weights and optimiser: a gradient, tiles, and the rows of dead latents."""

import json
import subprocess
import sys
from pathlib import Path

D_MODEL, D_SAE, TOKENS = 1024, 3072, 128
WEIGHTS = 2 * D_MODEL * D_SAE * 4
TILE = TOKENS * D_SAE * 4
_MEASURED = f"""
import json, sys, threading
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
import torch
from sparse_coders.kernels import encoder_search
from sparse_coders import ARCHITECTURES, CoderTrainer, Form, TrainerOptions, initial_coder_of, trainer_of
from tests.unit.sae_trainer.test_run_memory import _anonymous_bytes, _watch

torch.set_num_threads(1)
encoder_search._PART_BYTES = 2**20
x = torch.randn({TOKENS}, {D_MODEL}, generator=torch.Generator().manual_seed(0))


def grown(architecture, d_sae, dead=False, make=CoderTrainer, made=True):
    widths = (d_sae // 2, d_sae)
    coder = initial_coder_of(Form(architecture, {D_MODEL}, d_sae, {D_MODEL}, k=8, widths=widths), x, x, 0)
    target = 64.0 if architecture in ("relu", "gated", "jumprelu") else None
    clip = 1.0 if make is CoderTrainer else None
    unmade = _anonymous_bytes()
    trainer = make(coder, TrainerOptions(k=8, target_l0=target, max_grad_norm=clip))
    trainer.step(x[:2], x[:2], 1e-3)  # so that the optimiser's tensors are touched
    if dead:
        trainer.state()["idle_tokens"].fill_(10**9)
    before, peak, ended = _anonymous_bytes() if made else unmade, [0], threading.Event()
    watch = threading.Thread(target=_watch, args=(peak, ended))
    watch.start()
    trainer.step(x, x, 1e-3)
    ended.set()
    watch.join()
    return peak[0] - before


grown("topk", 64, True)
grown("topk", 64, True, trainer_of)
found = {{architecture: grown(architecture, {D_SAE}, True) for architecture in ARCHITECTURES}}
found["compiled"] = grown("topk", {D_SAE}, False, trainer_of)
found["compiled, with what a trainer keeps"] = grown("topk", {D_SAE}, False, trainer_of, made=False)
found["compiled, all dead"] = grown("topk", {D_SAE}, True, trainer_of)
print(json.dumps(found))
"""


def test_a_step_takes_one_gradient_and_tiles_whatever_is_dead() -> None:
    """Compiled kernels take no gradient, but the rows of dead latents and what AuxK adds to them.

    They keep Adam's two moments and no copy of W_enc, not even in bfloat16.
    """
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    said = subprocess.run(
        [sys.executable, "-c", _MEASURED], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(said.stdout)
    assert found.pop("compiled") < 4 * TILE
    kept = found.pop("compiled, with what a trainer keeps") - 2 * WEIGHTS
    assert kept < WEIGHTS / 5, f"{kept / WEIGHTS:.2f} weights beside Adam's moments"
    assert found.pop("compiled, all dead") < 2.2 * WEIGHTS + 6 * TILE
    for architecture, grown in found.items():
        assert WEIGHTS / 2 < grown < 1.2 * WEIGHTS + 12 * TILE, f"{architecture}: {grown / WEIGHTS:.2f} weights"
