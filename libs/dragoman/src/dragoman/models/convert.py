"""A GGUF file as a folder that transformers loads in a second: dequantised once, saved as float32 safetensors."""

import importlib
from pathlib import Path
from typing import Any

from dragoman.errors import FailedPrecondition, NotFound
from dragoman.models.pull import exclusive, scratch


def convert_gguf(path: Path, target: Path) -> Path:
    """Write model, tokenizer and chat template of a GGUF file to `target` in the Hugging Face layout; returns it.

    Weights are kept in float32: a GGUF's values are not bfloat16's, and float32 is the fastest type on a CPU
    without bfloat16 units. An existing target is returned as it is: it only ever appears whole, by a rename.

    Raises:
        NotFound: no such GGUF file.
        FailedPrecondition: torch, transformers or gguf is not installed here.
    """
    if (target / "config.json").is_file():
        return target
    if not path.is_file():
        raise NotFound(f"there is no GGUF file at {path}; fetch it first, for example with `dragoman models pull`")
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target.parent):
        if not (target / "config.json").is_file():
            with scratch(target.parent) as partial:
                fresh = partial / target.name
                _save(path, fresh)
                fresh.rename(target)
    return target


def _save(path: Path, folder: Path) -> None:
    torch, transformers = _imported("torch", path), _imported("transformers", path)
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name, "local_files_only": True}
    transformers.AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    _plain(torch, transformers, loaded).save_pretrained(folder)


def _imported(name: str, path: Path) -> Any:
    """A library that only the services with a model install; the shell itself has no torch."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FailedPrecondition(
            f"converting {path.name} needs torch, transformers and gguf, which are not installed here ({error}); "
            "run it where the activation service is installed"
        ) from error


def _plain(torch: Any, transformers: Any, loaded: Any) -> Any:
    """The same weights in a model that does not remember having been quantised, which transformers refuses to save."""
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = transformers.AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    return plain
