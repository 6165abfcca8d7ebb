"""The child that describes models (`python -m hooked_models.describe model PATH [--trust-remote-code]`) and tokenizers.

Says one line of JSON: the description, or `error` and `reason`. Imports torch and transformers; loads no weights.
"""

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hooked_models import gguf_header
from hooked_models.locations import CONFIG_FILE

_EXPERTS = "batched_mm"
"""How mixtures of experts are computed where widths are measured: the other ways need values, or bfloat16."""
_MOST_LAYERS = 1000
"""Each is made before its widths are known, and a configuration may say any number."""


class Refused(Exception):
    """The model or tokenizer cannot be used; says why, to the user."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def main(arguments: Sequence[str]) -> int:
    """Describes what the arguments name, on standard output."""
    what, path, *rest = arguments
    try:
        if what == "model":
            said = describe_model(Path(path), trust_remote_code="--trust-remote-code" in rest)
        else:
            said = describe_tokenizer(Path(path), Path(rest[0]))
    except Refused as error:
        said = {"error": str(error), "reason": error.reason}
    sys.stdout.write(f"\n{json.dumps(said)}\n")
    return 0


def source_arguments(path: Path) -> dict[str, Any]:
    """Returns the arguments by which transformers reads a folder or a GGUF file."""
    if path.is_file():
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(path)}


@contextmanager
def _reading(path: Path, what: str, reason: str) -> Generator[None]:
    """Refuses what a library cannot read, however it says so: a panic of tokenizers is no Exception."""
    try:
        if path.is_file():  # read first: gguf follows every length, and fills the memory with what is not there
            gguf_header.read_header(path)
        yield
    except (Refused, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise Refused(f"{what}: {error or type(error).__name__}", reason) from error


def describe_model(path: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Returns the fields of ModelDescription. Raises Refused when transformers cannot run it."""
    from transformers import AutoConfig

    with _reading(path, "its configuration cannot be used", "MODEL_UNSUPPORTED"):
        if trust_remote_code:
            _check_code_is_beside(path)
        config = AutoConfig.from_pretrained(**source_arguments(path), trust_remote_code=trust_remote_code)
        return describe_config(config, trust_remote_code=trust_remote_code)


def _check_code_is_beside(path: Path) -> None:
    """Raises Refused for code of another repository: no commit and no sum would say which code that is."""
    config = json.loads((path / CONFIG_FILE).read_bytes()) if path.is_dir() else {}
    elsewhere = [name for name in config.get("auto_map", {}).values() if "--" in str(name)]
    if elsewhere:
        raise Refused(
            f"its code is in another repository ({elsewhere[0]}); copy it beside config.json", "CODE_ELSEWHERE"
        )


def describe_config(config: Any, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Returns the fields of ModelDescription, by a pass with tensors that have shapes but no values."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    from hooked_models.widths import measured_widths

    _check_layers(config)
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            model: Any = AutoModelForCausalLM.from_config(
                config, trust_remote_code=trust_remote_code, experts_implementation=_EXPERTS
            )
        except (ValueError, ImportError) as error:
            raise Refused(
                f"it is no causal language model that transformers runs: {error}", "MODEL_UNSUPPORTED"
            ) from error
        model.eval()
        base = model.base_model
        _check_causal(model, base)
        prefix = next(name for name, module in model.named_modules() if module is base)
        widths = measured_widths(base, prefix)
    return {
        "architecture": type(model).__name__,
        "base_prefix": prefix,
        "vocab_size": int(model.get_input_embeddings().weight.shape[0]),
        "context_length": _model_context(config),
        "parameters": {name: list(parameter.shape) for name, parameter in model.named_parameters()},
        "widths": widths,
    }


def _model_context(config: Any) -> int | None:
    """Returns the longest row that a configuration allows, None where it names none."""
    text = config.get_text_config()
    return getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)  # the latter MPT's


def _check_causal(model: Any, base: Any) -> None:
    """Raises Refused for an encoder: padding at the end of a row would change what stands before it.

    Layers that can be either say which they are. What others do shows when they are loaded (`hooked_models.causality`).
    """
    can_be_either = any(getattr(module, "is_decoder", None) is False for module in base.modules())
    if can_be_either and getattr(model.config, "is_decoder", None) is False:
        raise Refused(
            f"{type(model).__name__} is not causal as config.json has it: a token sees those after it; expected a "
            "causal language model (`is_decoder` true)",
            "MODEL_NOT_CAUSAL",
        )


def _check_layers(config: Any) -> None:
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > _MOST_LAYERS:
        raise Refused(f"it has {layers:,} layers; at most {_MOST_LAYERS:,} can be run", "MODEL_UNSUPPORTED")


def describe_tokenizer(path: Path, folder: Path) -> dict[str, Any]:
    """Writes tokenizer.json to a folder; returns the fields of TokenizerDescription. Raises Refused for a slow one."""
    from transformers import AutoTokenizer

    with _reading(path, "its tokenizer cannot be loaded", "TOKENIZER_UNSUPPORTED"):
        tokenizer: Any = AutoTokenizer.from_pretrained(**source_arguments(path), use_fast=True, trust_remote_code=False)
        if not tokenizer.is_fast:
            raise Refused(
                f"its tokenizer ({type(tokenizer).__name__}) has no fast form; a tokenizer.json is needed: convert it "
                "with transformers (`convert_slow_tokenizer`) and save it with `save_pretrained`",
                "TOKENIZER_UNSUPPORTED",
            )
        return _described(tokenizer, path, folder)


def _described(tokenizer: Any, path: Path, folder: Path) -> dict[str, Any]:
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
        "chat_template": _chat_template(tokenizer),
        "special_tokens": {n: str(t) for n, t in tokenizer.special_tokens_map.items() if not isinstance(t, list)},
    }


def _chat_template(tokenizer: Any) -> str | None:
    """Returns the template of plain conversations, None when there is none."""
    templates = tokenizer.chat_template
    return templates.get("default") if isinstance(templates, dict) else templates


def _context_length(path: Path, tokenizer: Any) -> int | None:
    """Returns the context of the model beside the tokenizer, else the tokenizer's own limit, else None."""
    from transformers import AutoConfig

    if path.is_file():
        return gguf_header.context_length(path)
    if (path / "config.json").is_file():
        try:
            config: Any = AutoConfig.from_pretrained(**source_arguments(path), trust_remote_code=False)
            return _model_context(config)
        except (ValueError, OSError, KeyError, TypeError, AttributeError):
            return None
    return int(tokenizer.model_max_length) if tokenizer.model_max_length < 10**9 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
