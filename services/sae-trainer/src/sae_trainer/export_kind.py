"""The kind `export`: a coder as the files of sparsify or SAELens. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.kinds import Context, Part, Progress, Stage, Summary

from sae_trainer.core.exportable import refusal
from sae_trainer.export_spec import ExportSpec


class ExportKind:
    """Writes a coder so that another library loads it and gives the same."""

    name = "export"
    version = 1
    description = "A coder as the files of eai-sparsify or SAELens."
    spec = ExportSpec
    input_kinds: Mapping[str, str] = {"coder": "coder"}

    def inputs(self, spec: ExportSpec) -> Mapping[str, str]:
        """The coder."""
        return {"coder": spec.coder_id}

    def resolve(self, spec: ExportSpec) -> ExportSpec:
        """Everything the spec depends on is in its input."""
        return spec

    def check(self, spec: ExportSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses a coder that the library does not have."""
        manifest = inputs["coder"].manifest
        reason = refusal(spec.layout, manifest.statistics) if manifest else None
        if reason:
            raise InvalidSpec(f"{spec.coder_id}: {reason}", field="layout", reason="UNSUPPORTED_CODER")

    def plan(self, spec: ExportSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """One task."""
        return [Stage("write", [{}])]

    def run(self, spec: ExportSpec, context: Context) -> Iterator[Progress | Part]:
        """Writes the files."""
        from sae_trainer.exporting import write

        yield from write(spec, context)

    def combine(self, spec: ExportSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """What the other library is told of the coder."""
        return Summary(parts[0].metadata)
