"""Loads language models, with the weights that a spec asks for."""

from pathlib import Path
from typing import Any

import torch
from dragoman.errors import UserTaskError
from dragoman.models import convert_gguf
from torch import nn

from activation.core.rerandomize import rerandomize_including_embeddings
from activation.locations import MODEL, Located, Locations
from activation.spec import ModelRef

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LoadedModel:
    """A model in memory. Hookpoints are paths in `whole`; only `base` is run, without the unembedding."""

    def __init__(self, whole: Any, device: torch.device) -> None:
        self.whole: nn.Module = whole
        self.base: nn.Module = whole.base_model
        self.device = device
        self.prefix: str = whole.base_model_prefix

    def inner(self, hookpoint: str) -> str:
        """Returns the path of a hookpoint inside `base`."""
        return hookpoint.removeprefix(f"{self.prefix}.")


class ModelSlot:
    """Holds the model of the last task, since the next one mostly wants the same."""

    def __init__(self, locations: Locations, cache: Path, device: str, threads: int) -> None:
        self._locations = locations
        self._cache = cache
        self._device = device
        self._threads = threads
        self._key: tuple[Any, ...] = ()
        self._model: LoadedModel | None = None

    def get(self, ref: ModelRef) -> LoadedModel:
        """Returns the model, loaded now unless it is the one that is held."""
        key = (ref.fingerprint, ref.weights, ref.weights_seed, ref.dtype)
        if self._model is None or key != self._key:
            self._model = None
            torch.set_num_threads(self._threads)
            device = _device(self._device)
            self._model = LoadedModel(load_model(self._folder(ref), ref, device), device)
            self._key = key
        return self._model

    def _folder(self, ref: ModelRef) -> Path:
        path = self._locations.fetch(Located(ref.source, ref.revision, ref.fingerprint), MODEL)
        if path.is_file():
            return convert_gguf(path, self._cache / "gguf" / ref.fingerprint[:32])
        return path


def load_model(folder: Path, ref: ModelRef, device: torch.device) -> Any:
    """Returns a causal language model in eval mode. Raises UserTaskError when transformers cannot load it."""
    from transformers import AutoModelForCausalLM

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[ref.dtype], trust_remote_code=False, local_files_only=True, use_safetensors=True
        )
    except (ValueError, OSError, KeyError) as error:
        raise UserTaskError(f"the model {ref.source} cannot be loaded: {error}", reason="MODEL_UNSUPPORTED") from error
    if ref.weights == "rerandomized_incl_emb":
        rerandomize_including_embeddings(model, ref.weights_seed)
    # Keys and values of past tokens are of no use to a single pass.
    model.config.use_cache = False
    model.base_model.config.use_cache = False
    return model.eval().to(device)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
