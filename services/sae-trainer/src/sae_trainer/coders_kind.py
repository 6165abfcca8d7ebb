"""The kind `coders`: several coders trained by one pass of a model. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from hooked_models.model_host import ModelHost

from sae_trainer import trained_on
from sae_trainer.coder_kind import own_id
from sae_trainer.coders_spec import CodersSpec
from sae_trainer.config import Config
from sae_trainer.spec import StreamedActivations
from sae_trainer.spec_path import fields_below
from sae_trainer.streamed_checks import check_streamed, resolved_streamed
from sae_trainer.taking import prefix_of


class CodersKind:
    """Trains coders side by side on what a model gives while it runs; a job of the kind `coder` takes one out."""

    name = "coders"
    version = 3
    description = "Several sparse coders trained together while their tokens pass through the model once."
    spec = CodersSpec
    input_kinds: Mapping[str, str] = {"tokens": "tokens"}

    def __init__(self, config: Config, host: ModelHost) -> None:
        """`host`: the models to stream from."""
        self._config, self._host = config, host

    def inputs(self, spec: CodersSpec) -> Mapping[str, str]:
        """The tokens that pass through the model."""
        return {"tokens": _streamed(spec).tokens_id}

    def resolve(self, spec: CodersSpec) -> CodersSpec:
        """Finds the model, and the full names of all hookpoints."""
        coders: list[Any] = []
        for number, coder in enumerate(spec.coders):
            with fields_below(f"coders[{number}]"):
                coders.append(resolved_streamed(coder, self._host.refs))
        return spec.model_copy(update={"coders": tuple(coders)})

    def check(self, spec: CodersSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses what no coder could be trained on alone, and more than a worker's memory for all."""
        check_streamed(spec.coders, inputs["tokens"], self._host.refs, self._config)

    def plan(self, spec: CodersSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """One task: all take their steps together."""
        return [Stage("train", [{}])]

    def run(self, spec: CodersSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """Trains, and says how far it is, twice a second."""
        from sae_trainer.training import Member, train

        members = [Member(coder, own_id(coder), prefix_of(number)) for number, coder in enumerate(spec.coders)]
        yield from train(members, context, self._config, self._host.load)

    def combine(self, spec: CodersSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures of each run, and what all were trained on."""
        weights = {part.name.partition("/")[0]: part.metadata for part in parts if "d_sae" in part.metadata}
        figures: list[Json] = [dict(weights[prefix_of(number).rstrip("/")]) for number in range(len(spec.coders))]
        return Summary({"coders": figures, **trained_on.of_streamed(_streamed(spec), inputs["tokens"])})


def _streamed(spec: CodersSpec) -> StreamedActivations:
    streamed = spec.coders[0].streamed
    assert streamed is not None, "refused by the spec"
    return streamed
