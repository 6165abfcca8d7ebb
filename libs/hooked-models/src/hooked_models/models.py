"""Loads language models, with the weights that a spec asks for."""

import json
from pathlib import Path
from typing import Any

import torch
from dragoman.errors import UserTaskError
from dragoman.host_memory import host_memory_bytes
from dragoman.ids import derived_seed
from dragoman.models import convert_gguf
from torch import nn

from hooked_models.causality import looks_ahead
from hooked_models.core.control import Occurrences
from hooked_models.core.names import module_of
from hooked_models.core.quick_linear import quicken
from hooked_models.core.rerandomize import embedding_parameters, rerandomize
from hooked_models.locations import Located, Locations
from hooked_models.memory import does_not_fit
from hooked_models.model_ref import ModelRef
from hooked_models.model_refs import initial_place, model_files

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LoadedModel:
    """A model in memory. Hookpoints are paths in `whole`; `base` is the model without its unembedding."""

    def __init__(self, whole: Any, device: torch.device, control_seed: int | None = None) -> None:
        """`control_seed`: for the weights variant `control`, the seed of its noise."""
        self.whole: nn.Module = whole
        self.base: nn.Module = whole.base_model
        self.device = device
        self.prefix = base_prefix(whole)
        self._control_seed = control_seed

    def inner(self, hookpoint: str) -> str:
        """Returns the name of a hookpoint inside `base`."""
        return hookpoint.removeprefix(f"{self.prefix}.") if self.prefix else hookpoint

    def full_name(self, hookpoint: str) -> str:
        """Returns the full path of a hookpoint that may be named from `base`; the model is known to have it."""
        modules = {path for path, _ in self.whole.named_modules()}
        return hookpoint if module_of(hookpoint, modules) or not self.prefix else f"{self.prefix}.{hookpoint}"

    def occurrences(self) -> Occurrences:
        """Returns a context for passes of this model: under `control` it needs to know which tokens a pass holds.

        For other variants it does nothing.
        """
        if self._control_seed is None:
            return Occurrences(None)
        return Occurrences(self._embedding(), self._control_seed)

    def looks_ahead(self) -> bool:
        """Returns whether what it gives at a token changes with the tokens after it."""
        return looks_ahead(self.base, int(self._embedding().weight.shape[0]), self.device)

    def _embedding(self) -> Any:
        return self.whole.get_input_embeddings()  # type: ignore[operator]


def base_prefix(whole: Any) -> str:
    """Returns the path of the base model in the whole one, "" where they are the same."""
    base = whole.base_model
    return next(name for name, module in whole.named_modules() if module is base)


class ModelSlot:
    """Holds the model of the last task, since the next one mostly wants the same."""

    def __init__(
        self, locations: Locations, cache: Path, device: str, threads: int, *, trust_remote_code: bool = False
    ) -> None:
        """`device`: "auto", "cpu" or "cuda", of this worker. `trust_remote_code`: the operator allows it."""
        self._locations = locations
        self._cache = cache
        self._device = device
        self._threads = threads
        self._trust = trust_remote_code
        self._key: tuple[Any, ...] = ()
        self._model: LoadedModel | None = None

    def get(self, ref: ModelRef) -> LoadedModel:
        """Returns the model, loaded now unless it is the one that is held. Raises UserTaskError."""
        device = choose_device(ref.device, self._device)
        key = (ref.model_copy(update={"device": ""}), device)
        if self._model is None or key != self._key:
            self._model = None
            torch.set_num_threads(self._threads)
            if ref.trust_remote_code and not self._trust:
                raise UserTaskError(
                    f"the model {ref.source} comes with code, and this worker does not run it; "
                    "its operator may set <SERVICE>_TRUST_REMOTE_CODE=1",
                    reason="REMOTE_CODE_REFUSED",
                )
            control_seed = ref.weights_seed if ref.weights == "control" else None
            loaded = LoadedModel(load_model(self._folder(ref), ref, device), device, control_seed)
            _check_causal(ref, loaded)
            self._model, self._key = loaded, key
        return self._model

    def _folder(self, ref: ModelRef) -> Path:
        """Returns the folder of the weights to load: of step 0 where it is a checkpoint, else the trained ones."""
        located = Located(ref.source, ref.revision, ref.fingerprint)
        if ref.initial_weights:
            source, revision = initial_place(ref)
            located = Located(source, revision, ref.initial_weights_fingerprint)
        path = self._locations.fetch(located, model_files(ref))
        if path.is_file():
            return convert_gguf(path, self._cache / "gguf" / located.fingerprint[:32])
        return path


def _check_causal(ref: ModelRef, model: LoadedModel) -> None:
    if model.looks_ahead():
        raise UserTaskError(
            f"the model {ref.source} is not causal: what it gives at a token changes with the tokens after it; "
            "expected a causal language model (of an encoder's architecture, `is_decoder` true in config.json)",
            reason="MODEL_NOT_CAUSAL",
        )


def load_model(folder: Path, ref: ModelRef, device: torch.device) -> Any:
    """Returns a causal language model in eval mode, with the weights of a variant.

    Raises UserTaskError when transformers cannot load it or it does not fit in memory.
    """
    try:
        model = _initialised(folder, ref) if ref.weights == "step0" and not ref.initial_weights else _read(folder, ref)
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise UserTaskError(f"the model {ref.source} cannot be loaded: {error}", reason="MODEL_UNSUPPORTED") from error
    if ref.weights == "rerandomized_incl_emb":
        rerandomize(model, ref.weights_seed)
    elif ref.weights == "rerandomized_excl_emb":
        rerandomize(model, ref.weights_seed, keep=embedding_parameters(model))
    # Keys and values of past tokens are of no use to a single pass.
    model.config.use_cache = False
    model.base_model.config.use_cache = False
    if device.type == "cuda":
        count = sum(parameter.numel() for parameter in model.parameters())
        _check_fits(ref, count, torch.cuda.get_device_properties(device).total_memory, f"{device}")
    return quicken(model.eval().to(device))


def _read(folder: Path, ref: ModelRef) -> Any:
    from transformers import AutoModelForCausalLM

    _check_fits(ref, stored_parameters(folder), host_memory_bytes(), "this worker")
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=DTYPES[ref.dtype],
        trust_remote_code=ref.trust_remote_code,
        local_files_only=True,
        use_safetensors=True,
        # Told below, with names, in the place of a random tensor or a long traceback.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    model, told = loaded
    wrong = sorted({*told["missing_keys"], *(found[0] for found in told["mismatched_keys"])})
    if wrong:
        raise ValueError(
            f"its files lack {len(wrong)} tensors of the shapes of config.json, among them {', '.join(wrong[:3])}"
        )
    return model


def _initialised(folder: Path, ref: ModelRef) -> Any:
    """Returns a model with its architecture's own initialisation, drawn on the CPU in float32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    _check_fits(
        ref.model_copy(update={"dtype": "float32"}), stored_parameters(folder), host_memory_bytes(), "this worker"
    )
    config = AutoConfig.from_pretrained(folder, trust_remote_code=ref.trust_remote_code, local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        # The initialisation of transformers draws from the global generator.
        torch.default_generator.manual_seed(derived_seed("initial weights", ref.weights_seed))
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=ref.trust_remote_code
        )
    return model.to(DTYPES[ref.dtype])


def stored_parameters(folder: Path) -> int:
    """Returns how many numbers a folder's safetensors files hold, by their headers; a tied tensor is stored once."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for length in tensor["shape"]:
                    count *= length
                total += count
    return total


def _check_fits(ref: ModelRef, count: int, available: int, where: str) -> None:
    reason = does_not_fit(count, ref.dtype, available, where)
    if reason is not None:
        raise UserTaskError(f"the model {ref.source} does not fit in memory: {reason}", reason="MODEL_TOO_LARGE")


def choose_device(asked: str, own: str) -> torch.device:
    """Returns the device to run on.

    asked: of the spec, "" for what the worker has. own: of the worker, "auto" for cuda where there is one.
    Raises UserTaskError when the worker has not what is asked for.
    """
    gpus = torch.cuda.device_count() if own != "cpu" and torch.cuda.is_available() else 0
    has = "cpu" if not gpus else f"cpu and {gpus} cuda device{'s' if gpus > 1 else ''}"
    name = asked or ("cuda" if own == "cuda" or (own == "auto" and gpus) else "cpu")
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= gpus:
        raise UserTaskError(
            f"the model is to run on {name!r}, this worker has {has}; leave model.device empty to run on what is there",
            reason="DEVICE_NOT_HERE",
        )
    return torch.device(name)
