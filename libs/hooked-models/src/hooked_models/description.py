"""What is known of a model or a tokenizer without loading it: found out by a short-lived child, then remembered.

The serving process has no torch; the child (`python -m hooked_models.describe ...`) has.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from dragoman.errors import InvalidSpec, Unavailable
from dragoman.nearest import nearest

from hooked_models.core.names import INPUT, full_name
from hooked_models.fingerprints import JsonCache
from hooked_models.locations import MODEL, MODEL_WITH_CODE, TOKENIZER, FileSet, Located, Locations, made_once

_PATIENCE_S = 300
_VERSION = "4"
"""Of what the child says; part of the keys under which it is remembered."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model's shape."""

    architecture: str
    base_prefix: str
    """Path of the base model, as in "model.layers.9"; "" where the model is its own base."""
    vocab_size: int
    context_length: int | None
    """None: unlimited, or not known."""
    parameters: Mapping[str, Sequence[int]]
    """Shapes by name; tied ones once."""
    widths: Mapping[str, int | None]
    """Hookpoint to its width: module paths for outputs, with ".input" for inputs.

    None where that shows only when the model runs.
    """

    @property
    def parameter_count(self) -> int:
        """Numbers in all parameters; tied ones count once."""
        return sum(prod(shape) for shape in self.parameters.values())

    def hookpoint(self, name: str, field_name: str) -> str:
        """Returns the full path of a hookpoint. Raises InvalidSpec with the nearest real names."""
        found = full_name(name, self.widths, self.base_prefix)
        if found is not None:
            return found
        # Outputs for one who asks for an output, inputs for one who asks for an input.
        full = [n for n in self.widths if n.endswith(INPUT) == name.endswith(INPUT)]
        short = [n.removeprefix(f"{self.base_prefix}.") for n in full]
        alike = nearest(name, [*short, *full], count=4) or short[:4]
        raise InvalidSpec(
            f"{self.architecture} has no hookpoint {name!r}; the nearest are {', '.join(alike)} "
            f"(a module's path is its output, with {INPUT!r} its input)",
            field=field_name,
            reason="HOOKPOINT_NOT_FOUND",
        )


@dataclass(frozen=True, slots=True)
class TokenizerDescription:
    """A tokenizer's vocabulary and special tokens."""

    vocab_size: int
    """One more than the largest id."""
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    adds_bos: bool
    """True when it puts BOS before each text by itself."""
    context_length: int | None
    """Of the model that lies beside it; None when not known."""
    chat_template: str | None
    """Jinja source by which conversations become text; None when it has none."""
    special_tokens: Mapping[str, str]
    """Name, as in "bos_token", to text."""


class Descriptions:
    """Describes models and tokenizers, once for each fingerprint and host."""

    def __init__(self, cache: Path, locations: Locations) -> None:
        self._cache = cache
        self._json = JsonCache(cache / "descriptions")
        self._locations = locations

    def model(self, located: Located, field_name: str, files: FileSet = MODEL) -> ModelDescription:
        """Returns a model's description. Raises InvalidSpec for `field_name` when it cannot be run.

        `files`: MODEL_WITH_CODE lets the code beside the model run.
        """
        known = self._json.get("model", _VERSION, located.fingerprint)
        if known is None:
            path = self._locations.fetch(located, files, config_only=True)
            code = ["--trust-remote-code"] if files is MODEL_WITH_CODE else []
            known = _ask(["model", str(path), *code], field_name, located.source)
            self._json.put(known, "model", _VERSION, located.fingerprint)
        return ModelDescription(**known)

    def tokenizer(self, located: Located, field_name: str) -> TokenizerDescription:
        """Returns a tokenizer's description. Raises InvalidSpec for `field_name` when it cannot be used."""
        folder = self._tokenizer_folder(located, field_name)
        return TokenizerDescription(**json.loads((folder / "description.json").read_bytes()))

    def tokenizer_file(self, located: Located) -> Path:
        """Returns the fast tokenizer as `tokenizer.json`."""
        return self._tokenizer_folder(located, "tokenizer") / "tokenizer.json"

    def _tokenizer_folder(self, located: Located, field_name: str) -> Path:
        final = self._cache / "tokenizers" / f"{located.fingerprint[:32]}-{_VERSION}"
        if not final.is_dir():
            path = self._fetched(located, TOKENIZER)
            with made_once(final) as folder:
                if folder is not None:
                    found = _ask(["tokenizer", str(path), str(folder)], field_name, located.source)
                    (folder / "description.json").write_text(json.dumps(found), encoding="utf-8")
        return final

    def _fetched(self, located: Located, files: FileSet) -> Path:
        return self._locations.fetch(located, files)


def _ask(arguments: Sequence[str], field_name: str, source: str) -> Any:
    """Runs the child and returns the JSON it says. Its refusals become InvalidSpec."""
    command = [sys.executable, "-m", "hooked_models.describe", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"{source} could not be described within {_PATIENCE_S} s; the machine may be overloaded"
        ) from error
    said: dict[str, Any] = {}
    if done.stdout.strip():
        said = json.loads(done.stdout.strip().splitlines()[-1])
    if "error" in said:
        raise InvalidSpec(f"{source}: {said['error']}", field=field_name, reason=said["reason"])
    if done.returncode:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(f"describing {source} ended with exit code {done.returncode}: {' '.join(tail)}")
    return said
