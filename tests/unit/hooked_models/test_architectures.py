"""Every architecture with every weights variant, from a folder: what the shape says, what the passes give."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hooked_models.batches import batches
from hooked_models.describe import describe_config
from hooked_models.description import ModelDescription
from hooked_models.model_ref import ModelRef, WeightsVariant
from hooked_models.models import LoadedModel, load_model

from tests.support.tiny import CONFIGS, LAST_BUT_ONE, VOCAB

VARIANTS: tuple[WeightsVariant, ...] = (
    "trained", "rerandomized_incl_emb", "rerandomized_excl_emb", "step0", "control",
)  # fmt: skip
CPU = torch.device("cpu")
ROWS, POS = 6, 24
TOKENS = ((np.arange(ROWS * POS, dtype=np.int64) * 37) % (VOCAB - 3)).astype(np.int32).reshape(ROWS, POS) + 3
TOKENS[3] = TOKENS[2]
ALL = np.zeros((ROWS, POS), np.int32)
TOLERANCE = 1e-5
"""Of a float32 activation in another batch size, relative to the largest activation of the hookpoint."""


def _loaded(folder: Path, **fields: Any) -> LoadedModel:
    ref = ModelRef(source=str(folder), **fields)
    seed = ref.weights_seed if ref.weights == "control" else None
    return LoadedModel(load_model(folder, ref, CPU), CPU, seed)


def _dense(
    model: LoadedModel, hookpoints: Sequence[str], tokens: np.ndarray, first_row: int = 0, batch_size: int = 4
) -> dict[str, torch.Tensor]:
    """Activations [row, pos, d] of rows that are counted in full."""
    found = list(batches(model, hookpoints, tokens, np.zeros_like(tokens), first_row, batch_size))
    return {
        name: torch.cat([b.activations[name] for b in found]).reshape(*tokens.shape, -1).float() for name in hookpoints
    }


def _close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert float((found - expected).abs().max()) <= TOLERANCE * float(expected.abs().max())


@pytest.mark.parametrize("weights", VARIANTS)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_any_architecture_with_any_weights(
    model_folder: Callable[[str], Path], name: str, weights: WeightsVariant
) -> None:
    described = ModelDescription(**describe_config(CONFIGS[name]()))
    layer = LAST_BUT_ONE[name]
    inside = next(n for n in described.widths if n.startswith(f"{layer}.") and n.endswith(".input"))
    hookpoints = [layer, f"{layer}.input", inside]
    folder = model_folder(name)
    model = _loaded(folder, weights=weights, weights_seed=4)
    values = _dense(model, hookpoints, TOKENS)
    for hookpoint in hookpoints:
        assert values[hookpoint].shape == (ROWS, POS, described.widths[hookpoint])
        assert torch.isfinite(values[hookpoint]).all()
    # Another batch size and another first row, on a model loaded anew: the same activations.
    again = _dense(_loaded(folder, weights=weights, weights_seed=4), hookpoints, TOKENS[2:], first_row=2, batch_size=1)
    for hookpoint in hookpoints:
        _close(again[hookpoint], values[hookpoint][2:])
    other = _dense(_loaded(folder, weights=weights, weights_seed=5), [layer], TOKENS)[layer]
    assert torch.equal(other, values[layer]) == (weights == "trained")
    # The same tokens in another row: the same activations, unless each occurrence has noise of its own.
    same = bool((values[layer][2] - values[layer][3]).abs().max() <= TOLERANCE * values[layer].abs().max())
    assert same == (weights != "control")


@pytest.mark.parametrize("name", list(CONFIGS))
def test_what_stands_at_the_end_of_a_row_changes_nothing_before_it(
    model_folder: Callable[[str], Path], name: str
) -> None:
    model, layer = _loaded(model_folder(name)), LAST_BUT_ONE[name]
    padded = TOKENS.copy()
    padded[:, 15:] = 2
    _close(_dense(model, [layer], padded)[layer][:, :15], _dense(model, [layer], TOKENS)[layer][:, :15])
    _close(_dense(model, [layer], TOKENS[:, :15])[layer], _dense(model, [layer], TOKENS)[layer][:, :15])


@pytest.mark.parametrize("name", ["llama", "mamba", "rwkv"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_and_activations_have_the_dtype_of_the_spec(
    model_folder: Callable[[str], Path], name: str, dtype: str
) -> None:
    layer = LAST_BUT_ONE[name]
    wide = _dense(_loaded(model_folder(name)), [layer], TOKENS)[layer]
    for weights in VARIANTS:
        model = _loaded(model_folder(name), dtype=dtype, weights=weights)
        assert next(model.whole.parameters()).dtype == getattr(torch, dtype)
        batch = next(batches(model, [layer], TOKENS, ALL, 0, 4))
        # Mamba's residual stream is float32 in every dtype (`residual_in_fp32`).
        expected = torch.float32 if name == "mamba" else getattr(torch, dtype)
        assert batch.activations[layer].dtype == expected
        if weights == "trained":
            found = batch.activations[layer].float().reshape(4, POS, -1)
            assert float((found - wide[:4]).abs().max()) < 0.03 * float(wide.abs().max())
