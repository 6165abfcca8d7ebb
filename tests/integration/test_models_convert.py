"""A real GGUF as a folder that transformers loads: the same weights, and only once."""

from pathlib import Path

import pytest
from dragoman.errors import NotFound
from dragoman.models import convert_gguf, pull

from tests.support.llm_engine import SMALLEST, home, smallest_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.mark.slow
def test_smollm2_converts_to_the_same_model() -> None:
    source = pull(SMALLEST, home())
    folder = smallest_model()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert convert_gguf(source, folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert (model.dtype, model.config.hidden_size, model.config.num_hidden_layers) == (torch.float32, 576, 30)
    assert tokenizer.chat_template
    tokens = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        likeliest = int(model(**tokens).logits[0, -1].argmax())
    assert tokenizer.decode([likeliest]) == " Paris"
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".partial")] == []


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no GGUF file at .*none.gguf.*models pull"):
        convert_gguf(tmp_path / "none.gguf", tmp_path / "out")
