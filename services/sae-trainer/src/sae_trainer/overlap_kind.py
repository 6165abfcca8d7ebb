"""The kind `overlap`: which latents two coders share. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.host_memory import GIB, machine_memory_bytes
from dragoman.ids import Json
from dragoman.kinds import Context, Part, Progress, Stage, Summary

from sae_trainer.config import Config
from sae_trainer.overlap_spec import OverlapSpec

SUMMARY_PART = "overlap.json"
_PROCESS_BYTES = GIB // 2
"""Python and torch, before there is a coder."""
_BLOCK_BYTES = 2**28
_PAIR_BYTES = 16_000
"""For each latent of either coder: the pairs that a matching is sought among, and what is worked out of them."""


class OverlapKind:
    """Matches the latents of two coders one to one, by encoder and by decoder."""

    name = "overlap"
    version = 1
    description = "Which latents two coders share: exact matching of encoder and decoder directions, MMCS, and a null."
    spec = OverlapSpec
    input_kinds: Mapping[str, str] = {"coder": "coder", "other": "coder"}

    def __init__(self, config: Config) -> None:
        """`config`: device, threads, and the memory of a worker."""
        self._config = config

    def inputs(self, spec: OverlapSpec) -> Mapping[str, str]:
        """The two coders."""
        return {"coder": spec.coder_id, "other": spec.other_coder_id}

    def resolve(self, spec: OverlapSpec) -> OverlapSpec:
        """Everything the spec depends on is in its inputs."""
        return spec

    def check(self, spec: OverlapSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses coders of other widths, and those whose matching does not fit a worker's memory."""
        coder, other = inputs["coder"].manifest, inputs["other"].manifest
        if coder is None or other is None:
            return
        check_widths(coder.statistics, other.statistics)
        check_fits(coder.statistics, other.statistics, self._config.worker_memory_bytes or machine_memory_bytes())

    def plan(self, spec: OverlapSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """One task for each matching, then one that counts."""
        tasks: list[Mapping[str, Json]] = [
            {"of": of, "null": null} for null in range(-1, spec.null_count) for of in ("encoder", "decoder")
        ]
        return [Stage("match", tasks), Stage("summarise", [{}])]

    def run(self, spec: OverlapSpec, context: Context) -> Iterator[Progress | Part]:
        """Does one task of either stage."""
        from sae_trainer.overlapping import match_latents, summarise

        if context.task.stage == 1:
            yield from summarise(spec, context)
            return
        yield from match_latents(context, self._config)

    def combine(self, spec: OverlapSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures that the last stage worked out, and what was compared."""
        figures = next(part for part in parts if part.name == SUMMARY_PART).metadata
        said: dict[str, Json] = {}
        for prefix, role in (("", "coder"), ("other_", "other")):
            manifest = inputs[role].manifest
            statistics = manifest.statistics if manifest else {}
            said |= {f"{prefix}{name}": statistics.get(name) for name in ("architecture", "d_sae", "k", "hookpoint")}
        return Summary({**said, **figures})


def check_widths(coder: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises InvalidSpec when the directions of two coders, given by their statistics, are not of one space."""
    for what, name in (("reads activations", "d_model"), ("gives activations", "d_out")):
        width, other_width = (int(statistics.get(name) or statistics["d_model"]) for statistics in (coder, other))
        if width != other_width:
            raise InvalidSpec(
                f"the coder {what} {width} wide, the other one {other_width} wide; directions of different widths have "
                "no cosine: give coders of the same hookpoint",
                field="other_coder_id",
                reason="WIDTH_MISMATCH",
            )


def check_fits(coder: Mapping[str, Any], other: Mapping[str, Any], available: int) -> None:
    """Raises InvalidSpec when matching two coders, given by their statistics, takes more memory than there is."""
    latents = int(coder["d_sae"]) + int(other["d_sae"])
    width = max(int(coder["d_model"]), int(coder.get("d_out") or 0))
    needed = latents * (4 * width + _PAIR_BYTES) + _BLOCK_BYTES + _PROCESS_BYTES
    if needed > available:
        raise InvalidSpec(
            f"matching {int(coder['d_sae']):,} with {int(other['d_sae']):,} latents of width {width:,} takes about "
            f"{needed / GIB:.3g} GiB, a worker has {available / GIB:.3g} GiB; use smaller coders or a larger worker "
            "(SAE_TRAINER_WORKER_MEMORY_GIB)",
            field="coder_id",
            reason="TOO_LARGE",
        )
