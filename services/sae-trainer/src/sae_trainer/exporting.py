"""Does the task of an export. Imports torch."""

from collections.abc import Iterator, Mapping
from typing import Any

import sparse_coders
from dragoman.kinds import Context, Part, Progress

from sae_trainer.coder_artifact import load_coder
from sae_trainer.core.hook_names import UnknownHook, hook_name, sparsify_name
from sae_trainer.export_spec import ExportSpec


def write(spec: ExportSpec, context: Context) -> Iterator[Progress | Part]:
    """Yields the files of a coder in the layout asked for.

    sparsify names a coder by its folder, so its files lie in one that is called by the hookpoint; SAELens says it in
    cfg.json.

    Raises:
        UnsupportedCoder: the library has no such coder.
    """
    artifact = context.inputs["coder"]
    statistics = artifact.manifest.statistics
    yield Progress(0, 2, "steps", "reading")
    coder = load_coder(artifact, context.scratch)
    yield Progress(1, 2, "steps", "writing")
    folder, said, below = context.scratch / "written", dict[str, str | int | bool](), ""
    if spec.layout == "sparsify":
        below = sparsify_name(str(statistics["output_hookpoint"]))
        sparse_coders.save_sparsify(coder, folder)
    else:
        said = saelens_metadata(statistics)
        sparse_coders.save_saelens(coder, folder, metadata=said)
    for path in sorted(folder.iterdir()):
        name = f"{below}/{path.name}" if below else path.name
        hookpoints = {key: statistics.get(key) for key in ("hookpoint", "output_hookpoint")}
        yield Part(name, path, metadata={"layout": spec.layout, **hookpoints, **said})


def saelens_metadata(statistics: Mapping[str, Any]) -> dict[str, str | int | bool]:
    """Returns what SAELens shall know of a coder's model and hookpoints, from the coder's statistics.

    Hookpoints by TransformerLens's names where it has them, else by the paths of modules, as SAELens runs models of
    `transformers`.
    """
    model: Mapping[str, Any] = statistics.get("model") or {}
    name = str(model.get("source") or "")
    reads, gives = str(statistics["hookpoint"]), str(statistics.get("output_hookpoint") or "")
    said: dict[str, str | int | bool] = {"model_name": name}
    try:
        said["hook_name"] = hook_name(reads, name)
        if statistics.get("transcoder"):
            said["hook_name_out"] = hook_name(gives, name)
    except UnknownHook:
        said |= {"hook_name": reads, "model_class_name": "AutoModelForCausalLM"}
        if statistics.get("transcoder"):
            said["hook_name_out"] = gives
    policy: Mapping[str, Any] = statistics.get("token_policy") or {}
    if policy:
        said["prepend_bos"] = policy.get("bos_token_id") is not None
    return said
