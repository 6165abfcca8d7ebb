"""What a spec says of its model, resolved and described. Imports no torch."""

from typing import Any

from dragoman.errors import InvalidSpec

from hooked_models.description import Descriptions, ModelDescription
from hooked_models.locations import MODEL, MODEL_WITH_CODE, FileSet, Located, Locations, is_hub_id
from hooked_models.memory import does_not_fit
from hooked_models.model_ref import ModelRef

_OWN_INITIALISATION = "the architecture's own initialisation"
_SEEDED = {"rerandomized_incl_emb", "rerandomized_excl_emb", "control"}


def weights_origin(ref: ModelRef) -> str:
    """Returns, in words for a manifest, which weights a resolved reference stands for."""
    trained = f"trained weights, {_version(ref.source, ref.revision, ref.fingerprint)}"
    if ref.weights == "step0":
        if not ref.initial_weights:
            return f"step 0: {_OWN_INITIALISATION}, seed {ref.weights_seed}"
        source, revision = initial_place(ref)
        return f"step 0: a checkpoint, {_version(source, revision, ref.initial_weights_fingerprint)}"
    drawn = {
        "rerandomized_incl_emb": "every tensor, embeddings included, redrawn from a Gaussian of its mean and variance",
        "rerandomized_excl_emb": "every tensor but token embedding and unembedding redrawn from a Gaussian of its mean "
        "and variance",
        "control": "each token occurrence's input embedding replaced by standard Gaussian noise",
    }
    return f"{trained}; {drawn[ref.weights]}, seed {ref.weights_seed}" if ref.weights in drawn else trained


def initial_place(ref: ModelRef) -> tuple[str, str | None]:
    """Returns source and hub revision of the checkpoint that `initial_weights` names, None for no revision.

    >>> initial_place(ModelRef(source="org/name", weights="step0", initial_weights="@step0"))
    ('org/name', 'step0')
    """
    source, at, revision = ref.initial_weights.rpartition("@")
    if at and (not source or is_hub_id(source)):
        return source or ref.source, revision
    return ref.initial_weights, None


def model_files(ref: ModelRef) -> FileSet:
    """Returns which files make up a model: with its code where that may run."""
    return MODEL_WITH_CODE if ref.trust_remote_code else MODEL


class ModelRefs:
    """Resolves and describes models."""

    def __init__(
        self,
        locations: Locations,
        descriptions: Descriptions,
        *,
        trust_remote_code: bool = False,
        memory_bytes: int | None = None,
    ) -> None:
        """`trust_remote_code`: the operator allows it. `memory_bytes`: of the largest worker; None: not known."""
        self._locations = locations
        self._descriptions = descriptions
        self._trust = trust_remote_code
        self._memory_bytes = memory_bytes

    def resolve(self, ref: ModelRef) -> ModelRef:
        """Returns the reference with its canonical source, commit and fingerprint, and a seed only where one is used.

        Raises InvalidSpec.
        """
        if ref.trust_remote_code and not self._trust:
            raise InvalidSpec(
                "code that comes with a model is not run here; leave the field out, "
                "or have the server's operator set <SERVICE>_TRUST_REMOTE_CODE=1 for the service and its workers",
                field="model.trust_remote_code",
                reason="REMOTE_CODE_REFUSED",
            )
        located = self._locations.locate(ref.source, ref.revision, model_files(ref), "model.source")
        _check_fingerprint(ref.fingerprint, located, "model.fingerprint")
        changes: dict[str, Any] = {
            "source": located.source,
            "revision": located.revision,
            "fingerprint": located.fingerprint,
        }
        resolved = ref.model_copy(update=changes)
        self._check_fits(resolved)
        if ref.initial_weights:
            resolved = self._with_initial_weights(resolved)
        # The seed of weights that are not drawn means nothing, and must not make another artifact.
        drawn = ref.weights in _SEEDED or (ref.weights == "step0" and not ref.initial_weights)
        return resolved if drawn else resolved.model_copy(update={"weights_seed": 0})

    def describe(self, ref: ModelRef) -> ModelDescription:
        """Returns the shape of a resolved model."""
        located = Located(ref.source, ref.revision, ref.fingerprint)
        return self._descriptions.model(located, "model.source", model_files(ref))

    def _check_fits(self, ref: ModelRef) -> None:
        if self._memory_bytes is None:
            return
        reason = does_not_fit(self.describe(ref).parameter_count, ref.dtype, self._memory_bytes, "a worker")
        if reason is not None:
            raise InvalidSpec(f"{ref.source}: {reason}", field="model.source", reason="MODEL_TOO_LARGE")

    def _with_initial_weights(self, ref: ModelRef) -> ModelRef:
        """Returns a reference whose checkpoint of step 0 is located, and of the same shape as the model."""
        name = "model.initial_weights"
        source, revision = initial_place(ref)
        if ref.initial_weights.startswith("@") and ref.revision is None:
            raise InvalidSpec(
                f"{ref.initial_weights!r} is a revision of the model's hub id, but the model is {ref.source!r}; "
                "give a folder, a hub id (org/name@revision) or an s3:// uri",
                field=name,
                reason="NO_HUB_ID",
            )
        located = self._locations.locate(source, revision, model_files(ref), name)
        _check_fingerprint(ref.initial_weights_fingerprint, located, f"{name}_fingerprint")
        if located.fingerprint == ref.fingerprint:
            raise InvalidSpec(
                f"{ref.initial_weights} holds the very files of {ref.source}; expected the checkpoint of step 0",
                field=name,
                reason="SAME_WEIGHTS",
            )
        found = self._descriptions.model(located, name, model_files(ref))
        _check_same_shape(ref.initial_weights, found, self.describe(ref), name)
        canonical = located.source if located.revision is None else f"{located.source}@{located.revision}"
        return ref.model_copy(update={"initial_weights": canonical, "initial_weights_fingerprint": located.fingerprint})


def _version(source: str, revision: str | None, fingerprint: str) -> str:
    return f"{source} at revision {revision}" if revision else f"sha256 {fingerprint[:16]}"


def _check_fingerprint(given: str, located: Located, field_name: str) -> None:
    if given and given != located.fingerprint:
        raise InvalidSpec(
            f"the files at {located.source} have sha256 {located.fingerprint}, the spec says {given}; "
            "leave the field empty to take what is there",
            field=field_name,
            reason="FINGERPRINT_MISMATCH",
        )


def _check_same_shape(source: str, found: ModelDescription, model: ModelDescription, field_name: str) -> None:
    differing = ""
    if found.architecture != model.architecture:
        differing = f"it is a {found.architecture}, the model a {model.architecture}"
    elif found.parameters != model.parameters:
        names = [*model.parameters, *found.parameters]
        name = next(n for n in names if found.parameters.get(n) != model.parameters.get(n))
        differing = (
            f"{name} has shape {found.parameters.get(name, 'none: it is missing')}, "
            f"in the model {model.parameters.get(name, 'none: it is missing')}"
        )
    if differing:
        raise InvalidSpec(
            f"{source} is no earlier checkpoint of this model: {differing}", field=field_name, reason="OTHER_MODEL"
        )
