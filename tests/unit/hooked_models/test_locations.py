"""Where models lie: folders, the hub's cache on this host, and what happens once a host."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dragoman.errors import InvalidSpec, Unavailable, UserTaskError
from hooked_models.gguf_header import context_length
from hooked_models.locations import MODEL, TOKENIZER, Locations, made_once

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def _downloaded(hub_cache: Path, files: Path) -> Path:
    """Puts files where the hub's client keeps those of `me/tiny` at `main`."""
    repo = hub_cache / "models--me--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(files, repo / "snapshots" / COMMIT))


def test_a_hub_id_becomes_its_commit_with_the_sum_of_the_same_files_in_a_folder(
    hub_cache: Path, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = model_folder("gpt2")
    snapshot = _downloaded(hub_cache, folder)
    locations = Locations(tmp_path / "cache", None)
    located = locations.locate("me/tiny", None, MODEL, "model.source")
    assert (located.source, located.revision) == ("me/tiny", COMMIT)
    assert located.fingerprint == locations.locate(str(folder), None, MODEL, "model.source").fingerprint
    assert locations.fetch(located, MODEL) == snapshot
    assert locations.fetch(located, MODEL, config_only=True) == snapshot


def test_a_hub_that_cannot_be_reached_is_told(hub_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the Hugging Face hub cannot be reached from here; give a folder"):
        Locations(tmp_path / "cache", None).locate("me/other", None, MODEL, "model.source")


def test_a_commit_that_is_here_only_in_part_is_not_taken_for_whole(
    hub_cache: Path, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    snapshot = _downloaded(hub_cache, model_folder("gpt2"))
    locations = Locations(tmp_path / "cache", None)
    located = locations.locate("me/tiny", None, MODEL, "model.source")
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(UserTaskError, match="changed since the job was submitted"):
        locations.fetch(located, MODEL)


def test_a_model_that_changes_after_submit_fails_the_task(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder("gpt2"), tmp_path / "model"))
    locations = Locations(tmp_path / "cache", None)
    located = locations.locate(str(folder), None, MODEL, "model.source")
    assert locations.fetch(located, MODEL) == folder
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserTaskError, match=r"the model .* changed since the job was submitted"):
        locations.fetch(located, MODEL)


def test_files_that_are_not_the_models_do_not_change_its_sum(
    model_folder: Callable[[str], Path], tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folder("gpt2"), tmp_path / "model"))
    locations = Locations(tmp_path / "cache", None)
    before = locations.locate(str(folder), None, MODEL, "model.source")
    shutil.copytree(tokenizer_folder, folder, dirs_exist_ok=True)
    shutil.copytree(model_folder("llama"), folder / "checkpoint-1")
    assert locations.locate(str(folder), None, MODEL, "model.source") == before
    tokenizer = locations.locate(str(folder), None, TOKENIZER, "tokenizer")
    assert tokenizer.fingerprint == locations.locate(str(tokenizer_folder), None, TOKENIZER, "tokenizer").fingerprint


def test_a_name_that_is_neither_path_nor_hub_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"there is no model '\./here'") as caught:
        Locations(tmp_path, None).locate("./here", None, MODEL, "model.source")
    assert caught.value.violations[0].field == "model.source"


def test_what_is_made_once_is_made_once_and_only_whole(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "final"

    def break_off() -> None:
        with made_once(final) as folder:
            assert folder is not None
            (folder / "file").write_text("half")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        break_off()
    assert not final.exists()
    with made_once(final) as folder:
        assert folder is not None
        (folder / "file").write_text("whole")
    with made_once(final) as folder:
        assert folder is None
    assert [p.name for p in final.parent.iterdir() if p.is_dir()] == ["final"]
    assert (final / "file").read_text() == "whole"


def test_the_context_of_a_gguf_file_is_read_from_its_header(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "llama")
    writer.add_token_list(["a", "bc", "é"])
    writer.add_token_scores([1.0, 2.0, 3.0])
    writer.add_context_length(1234)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert context_length(tmp_path / "a.gguf") == 1234
    (tmp_path / "b.gguf").write_bytes(b"something else entirely")
    assert context_length(tmp_path / "b.gguf") is None
