"""The child that describes a model or a tokenizer: `python -m activation describe model|tokenizer PATH [FOLDER]`.

Says one line of JSON: the description, or `error` and `reason`. Imports torch and transformers; loads no weights.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from activation import gguf_header
from activation.core.hooks import first_tensor

_PROBE = (2, 8)
"""Batch and tokens of the pass that measures widths."""


class Refused(Exception):
    """The model or tokenizer cannot be used; says why, to the user."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def main(arguments: Sequence[str]) -> int:
    """Describes what the arguments name, on standard output."""
    what, path, *rest = arguments
    try:
        said = describe_model(Path(path)) if what == "model" else describe_tokenizer(Path(path), Path(rest[0]))
    except Refused as error:
        said = {"error": str(error), "reason": error.reason}
    sys.stdout.write(f"\n{json.dumps(said)}\n")
    return 0


def source_arguments(path: Path) -> dict[str, Any]:
    """Returns the arguments by which transformers reads a folder or a GGUF file."""
    if path.is_file():
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(path)}


def describe_model(path: Path) -> dict[str, Any]:
    """Returns the fields of ModelDescription. Raises Refused when transformers cannot run it."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(**source_arguments(path), trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise Refused(f"its configuration cannot be used: {error}", "MODEL_UNSUPPORTED") from error
    return describe_config(config)


def describe_config(config: Any) -> dict[str, Any]:
    """Returns the fields of ModelDescription, by a pass with tensors that have shapes but no values."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        except ValueError as error:
            raise Refused(
                f"it is no causal language model that transformers runs: {error}", "MODEL_UNSUPPORTED"
            ) from error
        model.eval()
        base = model.base_model
        widths = _measured(model, base, torch.zeros(_PROBE, dtype=torch.long))
    return {
        "architecture": type(model).__name__,
        "base_prefix": model.base_model_prefix,
        "vocab_size": int(base.get_input_embeddings().weight.shape[0]),
        "context_length": getattr(config.get_text_config(), "max_position_embeddings", None),
        "widths": widths,
    }


def _measured(model: Any, base: Any, input_ids: Any) -> dict[str, int | None]:
    """Returns the width of each module's output, of those called once with one vector per token."""
    names = {module: name for name, module in model.named_modules() if name.startswith(f"{model.base_model_prefix}.")}
    found: dict[str, int] = {}
    calls: Counter[str] = Counter()

    def hook(module: Any, args: Any, output: Any) -> None:
        calls[names[module]] += 1
        tensor = first_tensor(output, *_PROBE)
        if tensor is not None:
            found[names[module]] = int(tensor.shape[-1])

    for module in names:
        module.register_forward_hook(hook)
    try:
        base(input_ids=input_ids)
    except Exception:  # noqa: BLE001  whatever a model does with values that are not there: then names are all we know
        return dict.fromkeys(names.values())
    return {name: found[name] for name in names.values() if name in found and calls[name] == 1}


def describe_tokenizer(path: Path, folder: Path) -> dict[str, Any]:
    """Writes tokenizer.json to a folder; returns the fields of TokenizerDescription. Raises Refused for a slow one."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(**source_arguments(path), use_fast=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise Refused(f"its tokenizer cannot be loaded: {error}", "TOKENIZER_UNSUPPORTED") from error
    if not tokenizer.is_fast:
        raise Refused(
            f"its tokenizer ({type(tokenizer).__name__}) has no fast form; a tokenizer.json is needed: convert it "
            "with transformers (`convert_slow_tokenizer`) and save it with `save_pretrained`",
            "TOKENIZER_UNSUPPORTED",
        )
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(folder / "tokenizer.json"))
    encoded = tokenizer.encode("a", add_special_tokens=True)
    bos = tokenizer.bos_token_id
    return {
        "vocab_size": max(backend.get_vocab(with_added_tokens=True).values()) + 1,
        "bos_id": bos,
        "eos_id": tokenizer.eos_token_id,
        "pad_id": tokenizer.pad_token_id,
        "adds_bos": bos is not None and encoded[:1] == [bos],
        "context_length": _context_length(path, tokenizer),
    }


def _context_length(path: Path, tokenizer: Any) -> int | None:
    """Returns the context of the model beside the tokenizer, else the tokenizer's own limit, else None."""
    from transformers import AutoConfig

    if path.is_file():
        return gguf_header.context_length(path)
    if (path / "config.json").is_file():
        try:
            config: Any = AutoConfig.from_pretrained(**source_arguments(path), trust_remote_code=False)
            return getattr(config.get_text_config(), "max_position_embeddings", None)
        except (ValueError, OSError, KeyError, TypeError):
            return None
    return int(tokenizer.model_max_length) if tokenizer.model_max_length < 10**9 else None
