"""Tokenizers, a corpus and the kinds, that several tests share."""

from pathlib import Path

import pytest
from activation.config import Config
from activation.kinds import build
from dragoman.kinds import AnyKind

from tests.support.tiny import save_tokenizer, text_of


@pytest.fixture(scope="session")
def bos_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but it puts BOS before each text."""
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer-bos"), adds_bos=True)


@pytest.fixture(scope="session")
def plain_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without any special token."""
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer-plain"), special=False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve texts, one of them in a folder of its own."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "more").mkdir()
    for i in range(12):
        (root / ("more" if i == 5 else "") / f"{i:02d}.txt").write_text(text_of(i, 40 + 30 * i), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `kinds` keeps what it knows of models and tokenizers."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def kinds(cache: Path) -> dict[str, AnyKind]:
    """The kinds of the service, with a cache of their own and no object store."""
    return {kind.name: kind for kind in build(Config(cache=cache, torch_threads=2, device="cpu"), None)}
