"""A coder from elsewhere at submit: which layout, which hookpoints, which bytes. Imports no torch."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dragoman.errors import InvalidSpec
from dragoman.store import Store

from sae_trainer.coder_source import FIELD, CoderFolder, combined, open_folder
from sae_trainer.core.hook_names import UnknownHook, module_path
from sae_trainer.spec import ImportedCoder

CONFIG_FILE = "cfg.json"
WEIGHTS_FILES = {"sparsify": "sae.safetensors", "saelens": "sae_weights.safetensors"}
SCALE_FILE = "activation_scaler.json"
_INPUT = ".input"
_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".npz")
_SPARSIFY_NAME = re.compile(r"^(embed\w*|wte|\w+(\.\w+)*\.\d+(\.\w+)*)$")
"""Hookpoints by which sparsify names folders: "layers.9", "h.3.attn", "embed_tokens"."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the files say of where a coder belongs."""

    transcoder: bool
    hookpoint: str
    output_hookpoint: str
    trouble: str
    """Why a hookpoint could not be told."""


def resolved(spec: ImportedCoder, store: Store | None) -> ImportedCoder:
    """Returns the spec with canonical source, layout, hookpoints and fingerprint.

    Raises:
        InvalidSpec: no coder is there, its layout is not known, or its hookpoint is neither said nor given.
    """
    folder = open_folder(spec.source, spec.revision, store)
    names = folder.names()
    layout = _layout(spec, folder, names)
    reads, gives = _hookpoints(spec, _said(layout, _config(folder), folder))
    fingerprint = combined({name: folder.sha256(name) for name in files_of(layout, names)})
    if spec.fingerprint and spec.fingerprint != fingerprint:
        raise InvalidSpec(
            f"the files at {folder.source} have sha256 {fingerprint}, the spec says {spec.fingerprint}; "
            "leave the field empty to take what is there",
            field="imported.fingerprint",
            reason="FINGERPRINT_MISMATCH",
        )
    changes: dict[str, Any] = {
        "source": folder.source,
        "revision": folder.revision,
        "layout": layout,
        "hookpoint": reads,
        "output_hookpoint": gives,
        "fingerprint": fingerprint,
    }
    return spec.model_copy(update=changes)


def files_of(layout: str, names: Sequence[str]) -> Sequence[str]:
    """Returns the files that decide what a coder computes."""
    return [name for name in (CONFIG_FILE, WEIGHTS_FILES[layout], SCALE_FILE) if name in names]


def _layout(spec: ImportedCoder, folder: CoderFolder, names: Sequence[str]) -> str:
    found = [layout for layout, file in WEIGHTS_FILES.items() if file in names]
    if spec.layout != "auto":
        found = [layout for layout in found if layout == spec.layout]
    if CONFIG_FILE in names and len(found) == 1:
        return found[0]
    if len(found) > 1:
        message = f"it holds coders of both layouts ({', '.join(WEIGHTS_FILES.values())}); name one of them"
        raise InvalidSpec(f"{folder.source}: {message}", field="imported.layout", reason="UNKNOWN_LAYOUT")
    raise InvalidSpec(_nothing_found(spec, folder, names), field=FIELD, reason="UNKNOWN_LAYOUT")


def _nothing_found(spec: ImportedCoder, folder: CoderFolder, names: Sequence[str]) -> str:
    wanted = [WEIGHTS_FILES[spec.layout]] if spec.layout != "auto" else list(WEIGHTS_FILES.values())
    expected = f"expected {CONFIG_FILE} and {' or '.join(wanted)}"
    below = sorted({name.rpartition("/")[0] for name in names if name.endswith(f"/{CONFIG_FILE}")})
    pickles = [name for name in names if name.endswith(_PICKLES) and "/" not in name]
    if below:
        shown = ", ".join(below[:8]) + (", ..." if len(below) > 8 else "")
        return f"{folder.source} holds no coder itself but folders that do; name one of {shown}"
    if pickles:
        return (
            f"{folder.source} holds {pickles[0]}, which may run code when it is read, and is not read here: load it "
            "with the library that wrote it and save it as safetensors (`SAE.save_model` of SAELens, `save_to_disk` "
            f"of sparsify); {expected}"
        )
    shown = ", ".join(names[:8]) or "nothing"
    return f"{folder.source} holds no coder: {expected}; it has {shown}"


def _config(folder: CoderFolder) -> Mapping[str, Any]:
    try:
        config = json.loads(folder.read(CONFIG_FILE))
    except (ValueError, RecursionError) as error:
        said = f"{folder.source}/{CONFIG_FILE} is not JSON: {error}"
        raise InvalidSpec(said, field=FIELD, reason="MALFORMED_CODER") from error
    if not isinstance(config, dict):
        said = f"{folder.source}/{CONFIG_FILE} holds a {type(config).__name__}; expected a JSON object"
        raise InvalidSpec(said, field=FIELD, reason="MALFORMED_CODER")
    if not isinstance(config.get("metadata") or {}, dict):  # pyright: ignore[reportUnknownMemberType]
        said = f"{folder.source}/{CONFIG_FILE}: its metadata is no JSON object"
        raise InvalidSpec(said, field=FIELD, reason="MALFORMED_CODER")
    return config  # pyright: ignore[reportUnknownVariableType]


def _said(layout: str, config: Mapping[str, Any], folder: CoderFolder) -> _Said:
    if layout == "saelens":
        return _said_by_saelens(config)
    transcoder, name = bool(config.get("transcode")), folder.name
    if not _SPARSIFY_NAME.match(name):
        return _Said(transcoder, "", "", f"its folder {name!r} is not named by one")
    # sparsify's transcoders are named by the module that they stand in for.
    return _Said(transcoder, name + _INPUT if transcoder else name, name, "")


def _said_by_saelens(config: Mapping[str, Any]) -> _Said:
    metadata = {**config, **(config.get("metadata") or {})}
    transcoder = "transcoder" in str(config.get("architecture"))
    reads = str(metadata.get("hook_name") or metadata.get("hook_point") or "")
    gives = str(metadata.get("hook_name_out") or "") if transcoder else reads
    if not reads or not gives:
        return _Said(transcoder, "", "", f"{CONFIG_FILE} names none")
    model_name = str(metadata.get("model_name") or "")
    try:
        return _Said(transcoder, module_path(reads, model_name), module_path(gives, model_name), "")
    except UnknownHook as error:
        return _Said(transcoder, "", "", str(error))


def _hookpoints(spec: ImportedCoder, said: _Said) -> tuple[str, str]:
    """Returns what the coder reads and what it gives."""
    reads = spec.hookpoint or said.hookpoint
    if not reads:
        raise InvalidSpec(
            f"the coder's files do not tell its hookpoint: {said.trouble}; give the path of the module that it reads, "
            'for example "layers.9", or "layers.9.mlp.input" for the input of one',
            field="imported.hookpoint",
            reason="UNKNOWN_HOOKPOINT",
        )
    if not said.transcoder:
        if spec.output_hookpoint not in ("", reads):
            raise InvalidSpec(
                f"the coder is an autoencoder of {reads}, which it also gives; leave output_hookpoint out",
                field="imported.output_hookpoint",
            )
        return reads, reads
    by_default = reads.removesuffix(_INPUT) if reads.endswith(_INPUT) else ""
    gives = spec.output_hookpoint or (by_default if spec.hookpoint else said.output_hookpoint)
    if not gives or gives == reads:
        raise InvalidSpec(
            f"the coder is a transcoder that reads {reads}: say what it predicts, for example hookpoint "
            '"layers.9.mlp.input" and output_hookpoint "layers.9.mlp"',
            field="imported.output_hookpoint",
            reason="UNKNOWN_HOOKPOINT",
        )
    return reads, gives
