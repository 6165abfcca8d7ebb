"""The activations kind over recurrent models, inputs of modules and weights variants, from submit to artifact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from activation.spec import ActivationsSpec, TokensSpec
from dragoman.folder import FolderArtifact
from dragoman.kinds import AnyKind
from safetensors.torch import load_file

from tests.support.local_run import reversed_order, run_local

Kinds = dict[str, AnyKind]


@pytest.fixture(scope="module")
def tokens(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FolderArtifact:
    spec = TokensSpec(source=str(corpus), tokenizer=str(tokenizer_folder), ctx_len=32, bos="always", max_documents=5)
    return run_local(kinds["tokens"], spec, {}, tmp_path_factory.mktemp("tokens"))


def _run(
    kinds: Kinds, tokens: FolderArtifact, folder: Path, model: dict[str, Any], hookpoints: list[str], **fields: Any
) -> FolderArtifact:
    order = fields.pop("order", None)
    given = {"tokens_id": tokens.id, "model": model, "hookpoints": hookpoints, "rows_per_task": 3, "batch_size": 2}
    given["max_tokens"] = 7 * 31  # recurrent models are slow on a CPU
    spec = ActivationsSpec.model_validate({**given, **fields})
    return run_local(kinds["activations"], spec, {"tokens": tokens}, folder, order=order)


def _gathered(artifact: FolderArtifact, hookpoint: str) -> torch.Tensor:
    names = [p.name for p in artifact.manifest.parts if p.name.startswith(f"{hookpoint}/")]
    return torch.cat([load_file(artifact.download(name))["activations"] for name in names])


@pytest.mark.parametrize(
    ("name", "hookpoints"),
    [
        ("mamba", ["backbone.layers.1.mixer.input", "backbone.layers.1"]),
        ("rwkv", ["rwkv.blocks.1.feed_forward.input", "rwkv.blocks.1.feed_forward"]),
    ],
)
def test_control_of_a_recurrent_model_is_the_same_whatever_the_tasks(
    kinds: Kinds,
    tokens: FolderArtifact,
    model_folder: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    hookpoints: list[str],
) -> None:
    model = {"source": str(model_folder(name)), "weights": "control", "weights_seed": 2}
    short = [h.split(".", 1)[1] for h in hookpoints]
    one = _run(kinds, tokens, tmp_path / "one", model, short)
    other = _run(kinds, tokens, tmp_path / "other", model, hookpoints, order=reversed_order)
    assert one.manifest.statistics["hookpoints"] == hookpoints, "reported in full"
    assert [(p.name, p.sha256) for p in one.manifest.parts] == [(p.name, p.sha256) for p in other.manifest.parts]
    wide = _run(kinds, tokens, tmp_path / "wide", model, hookpoints, rows_per_task=7, batch_size=5)
    for hookpoint in hookpoints:
        found, expected = _gathered(wide, hookpoint), _gathered(one, hookpoint)
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    trained = _run(kinds, tokens, tmp_path / "trained", {"source": str(model_folder(name))}, hookpoints)
    assert not torch.allclose(_gathered(trained, hookpoints[0]), _gathered(one, hookpoints[0]), atol=1e-2)
