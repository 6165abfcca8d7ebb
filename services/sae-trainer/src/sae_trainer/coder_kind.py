"""The kind `coder`: dense activations to a sparse coder. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary

from sae_trainer.config import Config
from sae_trainer.core.run_length import ImpossibleRun, run_of
from sae_trainer.source import declared_hookpoints, find_hookpoint, source_of
from sae_trainer.spec import CoderSpec

_WEIGHTS_FILE = "sae.safetensors"


class CoderKind:
    """Trains a TopK sparse autoencoder."""

    name = "coder"
    version = 1
    description = "A TopK sparse autoencoder trained on dense activations, in sparsify's layout."
    spec = CoderSpec
    input_kinds: Mapping[str, str] = {"activations": "activations"}

    def __init__(self, config: Config) -> None:
        self._config = config

    def inputs(self, spec: CoderSpec) -> Mapping[str, str]:
        """The activations to train on."""
        return {"activations": spec.activations_id}

    def resolve(self, spec: CoderSpec) -> CoderSpec:
        """Everything the spec depends on is in its input."""
        return spec

    def check(self, spec: CoderSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses an unknown hookpoint, k > d_sae and fewer tokens than one batch."""
        activations = inputs["activations"]
        if activations.manifest is None:
            find_hookpoint(spec.hookpoint, declared_hookpoints(activations.spec), activations.id)
            return
        source = source_of(activations.manifest, spec.hookpoint)
        try:
            run_of(spec, source.d_model, source.token_count)
        except ImpossibleRun as error:
            raise InvalidSpec(str(error), field=error.field) from error

    def plan(self, spec: CoderSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """One task: every step depends on the one before."""
        return [Stage("train", [{}])]

    def run(self, spec: CoderSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """Trains, and says how far it is, twice a second."""
        from sae_trainer.training import train

        yield from train(spec, context, self._config)

    def combine(self, spec: CoderSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures of the run, and what it was trained on, so that an evaluation can tell held-out from seen."""
        weights = next(part for part in parts if part.name == _WEIGHTS_FILE)
        activations = inputs["activations"]
        trained_on = activations.spec
        statistics = activations.manifest.statistics if activations.manifest else {}
        return Summary(
            {
                "architecture": spec.architecture,
                "k": spec.k,
                **weights.metadata,
                "model": trained_on.get("model"),
                "tokens_id": trained_on.get("tokens_id"),
                "split": trained_on.get("split"),
                "row_count": statistics.get("row_count"),
                "token_policy": statistics.get("token_policy"),
            }
        )
