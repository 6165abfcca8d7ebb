"""The kind `coder`: activations to a sparse coder, or one from elsewhere. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.host_memory import machine_memory_bytes
from dragoman.ids import Json, artifact_id
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from dragoman.store import Store
from hooked_models.model_host import ModelHost

from sae_trainer import trained_on
from sae_trainer.config import Config
from sae_trainer.core.run_length import ImpossibleRun
from sae_trainer.imported import resolved
from sae_trainer.model_host import host_of
from sae_trainer.planned_run import held_by, planned
from sae_trainer.run_memory import too_large
from sae_trainer.source import declared_hookpoints, find_hookpoint, source_pair
from sae_trainer.spec import CoderSpec, ImportedCoder
from sae_trainer.streamed_checks import check_streamed, resolved_streamed

_WEIGHTS_FILE = "sae.safetensors"
_STORED_BYTES = 4
"""At most, of an activation."""


class CoderKind:
    """Trains a sparse autoencoder or transcoder of any architecture, imports one, or takes one out of several."""

    name = "coder"
    version = 5
    description = "A sparse autoencoder or transcoder trained on dense activations, or one of sparsify or SAELens."
    spec = CoderSpec
    input_kinds: Mapping[str, str] = {"activations": "activations", "tokens": "tokens", "coders": "coders"}

    def __init__(self, config: Config, store: Store | None = None, host: ModelHost | None = None) -> None:
        """`store`: where s3:// uris are read. `host`: the models to stream from; by the settings when it is None."""
        self._config = config
        self._store = store
        self._host = host or host_of(config, store)

    def inputs(self, spec: CoderSpec) -> Mapping[str, str]:
        """What it is trained on, or taken from; nothing for a coder from elsewhere."""
        if spec.imported is not None:
            return {}
        if spec.taken is not None:
            return {"coders": spec.taken.coders_id}
        return {"tokens": spec.streamed.tokens_id} if spec.streamed else {"activations": spec.activations_id}

    def resolve(self, spec: CoderSpec) -> CoderSpec:
        """Finds a coder from elsewhere, or the model to stream; all else that training depends on is in its input."""
        if spec.imported is not None:
            return spec.model_copy(update={"imported": resolved(spec.imported, self._store)})
        return resolved_streamed(spec, self._host.refs) if spec.streamed else spec

    def check(self, spec: CoderSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses unknown hookpoints, k > d_sae, fewer tokens than one batch, and more than a worker's memory."""
        if spec.streamed is not None:
            check_streamed([spec], inputs["tokens"], self._host.refs, self._config)
        elif spec.taken is not None:
            _check_taken(spec.taken.number, inputs["coders"])
        elif spec.imported is None:
            self._check_stored(spec, inputs["activations"])

    def plan(self, spec: CoderSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """One task: every step depends on the one before."""
        return [Stage("train" if spec.trained else "import" if spec.imported else "take", [{}])]

    def run(self, spec: CoderSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """Trains, and says how far it is, twice a second; or imports, or takes."""
        if spec.imported is not None:
            from sae_trainer.importing import import_coder

            yield from import_coder(spec.imported, context, self._store)
        elif spec.taken is not None:
            from sae_trainer.taking import take

            yield from take(spec.taken, context)
        else:
            from sae_trainer.training import Member, train

            member = Member(spec, own_id(spec) if spec.streamed else context.job_id)
            yield from train([member], context, self._config, self._host.load)

    def combine(self, spec: CoderSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures of the run, and what it was trained on, so that an evaluation can tell held-out from seen."""
        figures = next(part for part in parts if part.name == _WEIGHTS_FILE).metadata
        if spec.imported is not None:
            return Summary({**figures, **_origin(spec.imported)})
        if spec.taken is not None:
            return Summary({**figures, **trained_on.of_taken(inputs["coders"])})
        if spec.streamed is not None:
            return Summary({**figures, **trained_on.of_streamed(spec.streamed, inputs["tokens"])})
        return Summary({**figures, **trained_on.of_stored(inputs["activations"])})

    def _check_stored(self, spec: CoderSpec, activations: InputInfo) -> None:
        if activations.manifest is None:
            names = declared_hookpoints(activations.spec)
            find_hookpoint(spec.hookpoint, names, activations.id)
            if spec.transcoder:
                find_hookpoint(spec.output_hookpoint, names, activations.id, "output_hookpoint")
            return
        try:
            plan = planned(spec, *source_pair(activations.manifest, spec.hookpoint, spec.output_hookpoint))
        except ImpossibleRun as error:
            raise InvalidSpec(str(error), field=error.field) from error
        shuffled = min(self._config.shuffle_bytes, plan.reads.token_count * plan.width * _STORED_BYTES)
        memory = self._config.worker_memory_bytes or machine_memory_bytes()
        reason = too_large(held_by([plan], shuffled), [plan], self._config, memory, "the largest worker")
        if reason is not None:
            raise InvalidSpec(reason, field="d_sae", reason="RUN_TOO_LARGE")


def own_id(spec: CoderSpec) -> str:
    """Returns the id of a coder that is streamed alone: its weights are drawn by it, whoever is trained beside it."""
    return artifact_id(CoderKind.name, CoderKind.version, spec.model_dump(mode="json"))


def _check_taken(number: int, coders: InputInfo) -> None:
    trained = coders.spec.get("coders")
    count = len(trained) if isinstance(trained, list) else 0
    if number >= count:
        raise InvalidSpec(
            f"{coders.id} holds {count} coders, numbered from 0; there is no number {number}",
            field="taken.number",
            reason="NO_SUCH_CODER",
        )


def _origin(spec: ImportedCoder) -> Mapping[str, Json]:
    """Returns where a coder is from; what is not known of its model is left out, and of its training is null."""
    model = {name: value for name, value in spec.model.model_dump(mode="json").items() if value not in (None, "")}
    origin: dict[str, Json] = {"source": spec.source, "revision": spec.revision, "layout": spec.layout}
    origin["fingerprint"] = spec.fingerprint
    return {"model": model, "imported": origin, "fvu": None, "l0": None, "dead_fraction": None}
