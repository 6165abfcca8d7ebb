"""The kind `coder`: dense activations to a sparse coder, or one from elsewhere. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from dragoman.store import Store

from sae_trainer.config import Config
from sae_trainer.core.run_length import ImpossibleRun, run_of
from sae_trainer.imported import resolved
from sae_trainer.source import declared_hookpoints, find_hookpoint, source_of
from sae_trainer.spec import CoderSpec, ImportedCoder

_WEIGHTS_FILE = "sae.safetensors"


class CoderKind:
    """Trains a TopK sparse autoencoder, or imports a coder of any architecture."""

    name = "coder"
    version = 2
    description = "A TopK sparse autoencoder trained on dense activations, or any coder of sparsify or SAELens."
    spec = CoderSpec
    input_kinds: Mapping[str, str] = {"activations": "activations"}

    def __init__(self, config: Config, store: Store | None = None) -> None:
        """`store`: where s3:// uris are read."""
        self._config = config
        self._store = store

    def inputs(self, spec: CoderSpec) -> Mapping[str, str]:
        """The activations to train on; none for a coder from elsewhere."""
        if spec.imported is not None:
            return {}
        return {"activations": spec.activations_id}

    def resolve(self, spec: CoderSpec) -> CoderSpec:
        """Finds a coder from elsewhere; everything that training depends on is in its input."""
        if spec.imported is None:
            return spec
        return spec.model_copy(update={"imported": resolved(spec.imported, self._store)})

    def check(self, spec: CoderSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses an unknown hookpoint, k > d_sae and fewer tokens than one batch."""
        if spec.imported is not None:
            return
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
        return [Stage("train" if spec.imported is None else "import", [{}])]

    def run(self, spec: CoderSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """Trains, and says how far it is, twice a second; or imports."""
        if spec.imported is not None:
            from sae_trainer.importing import import_coder

            yield from import_coder(spec.imported, context, self._store)
            return
        from sae_trainer.training import train

        yield from train(spec, context, self._config)

    def combine(self, spec: CoderSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures of the run, and what it was trained on, so that an evaluation can tell held-out from seen."""
        weights = next(part for part in parts if part.name == _WEIGHTS_FILE)
        if spec.imported is not None:
            return Summary({**weights.metadata, **_origin(spec.imported)})
        activations = inputs["activations"]
        trained_on = activations.spec
        statistics = activations.manifest.statistics if activations.manifest else {}
        return Summary(
            {
                **weights.metadata,
                "model": trained_on.get("model"),
                "tokens_id": trained_on.get("tokens_id"),
                "split": trained_on.get("split"),
                "row_count": statistics.get("row_count"),
                "token_policy": statistics.get("token_policy"),
            }
        )


def _origin(spec: ImportedCoder) -> Mapping[str, Json]:
    """Returns where a coder is from; what is not known of its model is left out, and of its training is null."""
    model = {name: value for name, value in spec.model.model_dump(mode="json").items() if value not in (None, "")}
    origin: dict[str, Json] = {"source": spec.source, "revision": spec.revision, "layout": spec.layout}
    origin["fingerprint"] = spec.fingerprint
    return {"model": model, "imported": origin, "fvu": None, "l0": None, "dead_fraction": None}
