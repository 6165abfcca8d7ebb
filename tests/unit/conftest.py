"""Tiny models and a tokenizer that the tests of several packages share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer with BOS, EOS and padding, which adds no BOS by itself."""
    from tests.support.tiny import save_tokenizer  # transformers: not for the tests of every package

    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns a saved tiny model by name."""
    from tests.support.tiny import tiny_model

    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            tiny_model(name).save_pretrained(root / name)
        return root / name

    return folder


@pytest.fixture
def without_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Describes models in this process: a child takes seconds to start."""
    from hooked_models.describe import describe_model

    def ask(arguments: list[str], field_name: str, source: str) -> Any:
        assert arguments[0] == "model"
        return json.loads(json.dumps(describe_model(Path(arguments[1]))))

    monkeypatch.setattr("hooked_models.description._ask", ask)
