"""Files of models, tokenizers and coders that nobody would write: read, or refused in words.

A part of `make fuzz`, as tests/integration/test_fuzz.py; in `make test` it is a slice.
"""

import contextlib
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sparse_coders
from dragoman.errors import UserTaskError
from hooked_models import describe
from hooked_models.gguf_header import DamagedHeader, context_length, read_header
from hypothesis import strategies as st
from sparse_coders.sparsify_layout import save

from tests.support.fuzzed_messages import bent, damaged
from tests.support.many_inputs import many
from tests.support.tiny import save_gguf

CODERS = Path(__file__).parent / "sparse_coders" / "saelens"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A model of one layer, with its tokenizer."""
    return save_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tokenizer_folder)


@pytest.fixture(autouse=True)
def without_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the child that describes files has it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@contextlib.contextmanager
def replaced(path: Path, data: bytes) -> Iterator[None]:
    """Writes something else into a file for a while."""
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


def one_of(folder: Path) -> st.SearchStrategy[tuple[Path, bytes]]:
    """A file of a folder, and what is to be in it."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"})
    return st.sampled_from(files).flatmap(lambda path: st.tuples(st.just(path), bent(path.read_bytes())))


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What the child that describes models and tokenizers says."""
    assert describe.main(arguments) == 0
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_a_gguf_header_is_read_within_its_file(gguf: Path) -> None:
    assert context_length(gguf) == 128

    @many(damaged(gguf.read_bytes()[:2000]), share=2.0)
    def _(data: bytes) -> None:
        with replaced(gguf, data):
            length = context_length(gguf)
            assert length is None or isinstance(length, int)
            with contextlib.suppress(DamagedHeader):
                read_header(gguf)


def test_a_length_beyond_the_file_is_not_followed(gguf: Path) -> None:
    """The library would append to a list until the memory is full."""
    whole = gguf.read_bytes()
    key = whole.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens")
    endless = whole[: key + 8] + struct.pack("<Q", 2**60) + whole[key + 16 :]
    with replaced(gguf, endless), pytest.raises(DamagedHeader, match="left"):
        read_header(gguf)


@pytest.mark.parametrize("what", ["tokenizer", "model"])
def test_a_gguf_file_is_described_or_refused(
    gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    arguments = [what, str(gguf), str(tmp_path)]
    assert "error" not in told(arguments, capsys)

    @many(damaged(gguf.read_bytes()), share=0.5)
    def _(data: bytes) -> None:
        with replaced(gguf, data):
            said = told(arguments, capsys)
        assert "error" not in said or said["reason"]


def test_a_tokenizer_is_described_or_refused(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tokenizer_folder, tmp_path / "tokenizer")

    @many(one_of(folder))
    def _(change: tuple[Path, bytes]) -> None:
        with replaced(*change):
            said = told(["tokenizer", str(folder), str(tmp_path)], capsys)
        assert "error" not in said or said["reason"]


def test_a_model_is_described_or_refused(
    model_folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(model_folder("llama") / "config.json", folder)

    @many(one_of(folder), share=0.5)
    def _(change: tuple[Path, bytes]) -> None:
        with replaced(*change):
            said = told(["model", str(folder)], capsys)
        assert "error" not in said or said["reason"]


@pytest.mark.parametrize("layout", ["saelens", "ours"])
def test_a_coder_is_read_or_refused(tmp_path: Path, layout: str) -> None:
    for source in sorted(CODERS.iterdir()):
        folder = shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("expected.*"))
        if layout == "ours":
            save(sparse_coders.load(folder), tmp_path / f"{source.name}-ours")
            shutil.rmtree(folder)
    folders = sorted(tmp_path.iterdir())

    @many(st.sampled_from(folders).flatmap(one_of))
    def _(change: tuple[Path, bytes]) -> None:
        with replaced(*change), contextlib.suppress(UserTaskError):
            sparse_coders.load(change[0].parent)


def test_what_fuzzing_has_found_in_coders_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(CODERS / "matryoshka_batchtopk", tmp_path / "coder")
    config = json.loads((folder / "cfg.json").read_text())
    changes = {
        "d_in": 2**31 - 1,
        "metadata": [1],
        "architecture": ["topk"],
        "normalize_activations": {"none": 1},
        "activation_fn_kwargs": 5,
    }
    for name, value in changes.items():
        (folder / "cfg.json").write_text(json.dumps({**config, name: value}))
        with pytest.raises(UserTaskError, match=r"cfg\.json"):
            sparse_coders.load(folder)
