"""What a spec says of its model, resolved and checked against its inputs. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, Violation

from activation.description import Descriptions, ModelDescription
from activation.locations import MODEL, MODEL_WITH_CODE, FileSet, Located, Locations, is_hub_id
from activation.memory import does_not_fit
from activation.spec import ModelRef

MAX_TASKS = 10_000


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
                "or have the server's operator set ACTIVATION_TRUST_REMOTE_CODE=1 for the service and its workers",
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


def check_kind(inputs: Mapping[str, InputInfo], role: str, kind: str, field_name: str) -> InputInfo:
    """Returns an input. Raises InvalidSpec when it is of another kind."""
    info = inputs[role]
    if info.kind != kind:
        raise InvalidSpec(
            f"{info.id} is an artifact of kind {info.kind!r}; expected kind {kind!r}",
            field=field_name,
            reason="WRONG_KIND",
        )
    return info


def check_tokens(tokens: InputInfo, model: ModelDescription) -> None:
    """Raises InvalidSpec when rows are too long for a model, or hold ids that it has no embedding for."""
    ctx_len = int(str(tokens.spec.get("ctx_len", 0)))
    if model.context_length is not None and ctx_len > model.context_length:
        raise InvalidSpec(
            f"the rows of {tokens.id} have {ctx_len} tokens; "
            f"{model.architecture} takes at most {model.context_length}; "
            f"make tokens with ctx_len <= {model.context_length}",
            field="tokens_id",
            reason="CONTEXT_TOO_LONG",
        )
    if tokens.manifest is None:
        return
    vocab_size = int(str(tokens.manifest.statistics["vocab_size"]))
    if vocab_size > model.vocab_size:
        raise InvalidSpec(
            f"the tokenizer of {tokens.id} has {vocab_size:,} tokens, "
            f"the model has embeddings for {model.vocab_size:,}; "
            "they do not belong together: make tokens with this model's tokenizer",
            field="tokens_id",
            reason="VOCABULARY_MISMATCH",
        )


def check_task_count(row_count: int, rows_per_task: int, split: str) -> None:
    """Raises InvalidSpec when there are no rows, or too many tasks."""
    if not row_count:
        raise InvalidSpec(f"the split {split!r} of these tokens has no rows", field="split", reason="EMPTY_SPLIT")
    if -(-row_count // rows_per_task) > MAX_TASKS - 2:
        needed = -(-row_count // (MAX_TASKS - 2))
        raise InvalidSpec(
            f"{row_count:,} rows in tasks of {rows_per_task} are more than {MAX_TASKS:,} tasks; use at least {needed}",
            field="rows_per_task",
            reason="TOO_MANY_TASKS",
        )


def check_coder(coder: InputInfo, ref: ModelRef, model: ModelDescription, field_name: str = "coder_id") -> None:
    """Raises InvalidSpec that says what differs, when a coder was made for another model or another width.

    An autoencoder reads and gives one hookpoint; a transcoder reads one and gives another.
    """
    if coder.manifest is None:
        return
    statistics: Mapping[str, Any] = coder.manifest.statistics
    reads = str(statistics["hookpoint"])
    gives = str(statistics.get("output_hookpoint") or reads)
    d_model = int(statistics["d_model"])
    d_out = int(statistics.get("d_out") or d_model)
    violations = _wrong_width(model, reads, "takes", d_model, field_name)
    if (gives, d_out) != (reads, d_model):
        violations.extend(_wrong_width(model, gives, "gives", d_out, field_name))
    violations.extend(_differences(statistics.get("model") or {}, ref))
    if violations:
        raise InvalidSpec(violations, reason="CODER_MISMATCH")


def _wrong_width(model: ModelDescription, name: str, verb: str, expected: int, field_name: str) -> list[Violation]:
    hookpoint = model.hookpoint(name, field_name)
    width = model.widths[hookpoint]
    if width is None or width == expected:
        return []
    said = f"the coder {verb} vectors of {expected}, {hookpoint} of {model.architecture} has {width}"
    return [Violation(field_name, said)]


def _differences(trained_on: Mapping[str, Any], ref: ModelRef) -> list[Violation]:
    """Returns what the model that a coder was trained on has otherwise; of an imported one not all is known.

    Where the files of its model are not known, two hub ids are compared; a path on either side says nothing.
    """
    names = ["fingerprint", "weights", "dtype"]
    if not trained_on.get("fingerprint") and is_hub_id(str(trained_on.get("source"))) and is_hub_id(ref.source):
        names.insert(0, "source")
    if ref.weights != "trained" and trained_on.get("weights") == ref.weights:
        names += ["weights_seed", "initial_weights_fingerprint"]
    if not trained_on.get("fingerprint"):
        names.remove("fingerprint")
    differing = [name for name in names if trained_on.get(name) not in (None, getattr(ref, name))]
    return [
        Violation(
            f"model.{name}",
            f"the coder was trained on activations with {name} {trained_on[name]!r} "
            f"(model {trained_on.get('source')}), "
            f"this spec has {getattr(ref, name)!r} (model {ref.source}); they must be the same",
        )
        for name in differing
    ]
