"""The kind `coder`: dense activations to a sparse coder, or one from elsewhere. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.host_memory import machine_memory_bytes
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from dragoman.store import Store

from sae_trainer.config import Config
from sae_trainer.core.run_length import ImpossibleRun, run_of
from sae_trainer.imported import resolved
from sae_trainer.run_memory import too_large
from sae_trainer.source import declared_hookpoints, find_hookpoint, source_pair
from sae_trainer.spec import CoderSpec, ImportedCoder

_WEIGHTS_FILE = "sae.safetensors"


class CoderKind:
    """Trains a sparse autoencoder or transcoder of any architecture, or imports one."""

    name = "coder"
    version = 3
    description = "A sparse autoencoder or transcoder trained on dense activations, or one of sparsify or SAELens."
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
        """Refuses unknown hookpoints, k > d_sae, fewer tokens than one batch, and more than a worker's memory."""
        if spec.imported is not None:
            return
        activations = inputs["activations"]
        if activations.manifest is None:
            names = declared_hookpoints(activations.spec)
            find_hookpoint(spec.hookpoint, names, activations.id)
            if spec.transcoder:
                find_hookpoint(spec.output_hookpoint, names, activations.id, "output_hookpoint")
            return
        reads, gives = source_pair(activations.manifest, spec.hookpoint, spec.output_hookpoint)
        try:
            run = run_of(spec, reads.d_model, reads.token_count)
        except ImpossibleRun as error:
            raise InvalidSpec(str(error), field=error.field) from error
        memory = self._config.worker_memory_bytes or machine_memory_bytes()
        reason = too_large(spec, run, reads, gives, self._config, memory, "the largest worker")
        if reason is not None:
            raise InvalidSpec(reason, field="d_sae", reason="RUN_TOO_LARGE")

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
