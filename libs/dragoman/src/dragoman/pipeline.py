"""Pipelines as data: a YAML or JSON file of jobs that refer to each other by name.

    vars:
      corpus: ./texts            # `${var:corpus}` below; `--set corpus=...` overrides it; null: must be set
    jobs:
      tokens:
        kind: tokens
        spec: {source: "${var:corpus}", tokenizer: HuggingFaceTB/SmolLM2-135M}
      acts:
        kind: activations
        spec: {tokens_id: "${tokens}", model: {source: HuggingFaceTB/SmolLM2-135M}, hookpoints: [layers.9]}

`${name}` becomes the id of the job of that name; `$${` is a literal `${`. `kind: sweep` stands for many coders, and
`${name}` of one, as an item of a list, for all their ids. A text that is one `${var:NAME}` and nothing
else takes the variable's value as it is, so that numbers stay numbers and lists stay lists.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dragoman.errors import InvalidSpec, NotFound, Violation
from dragoman.ids import Json
from dragoman.lines import Lines, parse_document, parse_scalar
from dragoman.nearest import suggestion
from dragoman.rpc.convert import spec_message
from dragoman.rpc.methods import SUBMITS, SWEEP

_REFERENCE = re.compile(r"(\$)?\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_JOB_FIELDS = ("kind", "spec", "request_id")
_KINDS = {**SUBMITS, SWEEP.kind: SWEEP}


@dataclass(frozen=True, slots=True)
class PipelineJob:
    """One job of a pipeline. Variables are filled in; references to other jobs are not."""

    name: str
    kind: str
    spec: Mapping[str, Json]
    needs: tuple[str, ...]
    """Names of the jobs that the spec refers to."""
    request_id: str = ""

    def render(self, ids: Mapping[str, str | Sequence[str]]) -> dict[str, Json]:
        """Returns the spec with the ids of the jobs it refers to. Raises KeyError when one of `needs` has no id.

        A sweep has several ids; they take the place of its item in a list.
        """
        return cast("dict[str, Json]", _substituted(dict(self.spec), lambda name: ids[name]))


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Checked jobs, each after all those it needs."""

    jobs: Mapping[str, PipelineJob]
    lines: Lines
    """Where everything stands in the file, for errors that the servers find."""


def load(path: Path, overrides: Mapping[str, str] | None = None) -> Pipeline:
    """Reads a pipeline file. Raises NotFound when there is none, otherwise as `parse`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFound(f"cannot read the pipeline file {path}: {error.strerror}", reason="NO_SUCH_FILE") from error
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    return parse(text, str(path), overrides)


def parse(text: str, source: str = "pipeline", overrides: Mapping[str, str] | None = None) -> Pipeline:
    """Returns a checked pipeline.

    Args:
        text: YAML or JSON.
        source: Name of the file, for messages.
        overrides: Values of variables, as text of the command line; read as YAML values.

    Raises:
        InvalidSpec: With a violation and a line number for each thing that is wrong: syntax, unknown kinds, fields,
            variables and references, values of the wrong type, inputs of the wrong kind, cycles.
    """
    document, lines = parse_document(text, source)
    reader = _Reader(lines)
    values = reader.variables(document, overrides or {})
    jobs = reader.jobs(document, values)
    reader.finish()
    for job in jobs.values():
        reader.check(job, jobs)
    reader.finish()
    return Pipeline({name: jobs[name] for name in reader.ordered(jobs)}, lines)


class _Reader:
    """Collects what is wrong, with line numbers, and raises it all at once."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._violations: list[Violation] = []

    def _wrong(self, path: str, description: str) -> None:
        self._violations.append(Violation(path, self._lines.at(path, description)))

    def finish(self) -> None:
        """Raises what has been found so far."""
        if self._violations:
            raise InvalidSpec(self._violations, reason="INVALID_PIPELINE")

    # -------------------------------------------------------------- variables

    def variables(self, document: Mapping[str, Json], overrides: Mapping[str, str]) -> Mapping[str, Json]:
        """Returns the value of each variable."""
        for name in document:
            if name not in ("vars", "jobs"):
                self._wrong(name, f"a pipeline has no {name!r}; {suggestion(name, ['vars', 'jobs'])}")
        given = self._mapping(document.get("vars") or {}, "vars")
        for name in overrides:
            if name not in given:
                self._violations.append(
                    Violation("", f"--set {name}: the pipeline has no variable {name!r}; {suggestion(name, given)}")
                )
        return {**given, **{name: parse_scalar(value) for name, value in overrides.items()}}

    def _mapping(self, value: Json, path: str) -> Mapping[str, Json]:
        if isinstance(value, dict):
            return value
        self._wrong(path, f"expected a mapping of names to values, got {value!r}")
        return {}

    # ------------------------------------------------------------------- jobs

    def jobs(self, document: Mapping[str, Json], values: Mapping[str, Json]) -> Mapping[str, PipelineJob]:
        """Returns the jobs in the order of the file."""
        entries = self._mapping(document.get("jobs") or {}, "jobs")
        if not entries and not self._violations:
            self._wrong("jobs", "a pipeline needs at least one job under `jobs:`")
        read = [self._job(name, entry, values) for name, entry in entries.items()]
        return {job.name: job for job in read if job is not None}

    def _job(self, name: str, value: Json, values: Mapping[str, Json]) -> PipelineJob | None:
        path = f"jobs.{name}"
        entry = self._mapping(value, path)
        if not _NAME.fullmatch(name):
            self._wrong(path, f"{name!r} is no name for a job; use letters, digits, '_', '-' and '.'")
        for field in entry:
            if field not in _JOB_FIELDS:
                self._wrong(f"{path}.{field}", f"a job has no {field!r}; {suggestion(field, _JOB_FIELDS)}")
        kind = entry.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            said = "is required" if kind is None else f"{kind!r} is not a kind of job"
            self._wrong(f"{path}.kind", f"{said}; {suggestion(str(kind or ''), _KINDS)}")
            return None
        written = self._mapping(entry.get("spec") or {}, f"{path}.spec")
        spec = cast("dict[str, Json]", self._filled(dict(written), values, f"{path}.spec"))
        needs = tuple(dict.fromkeys(_references(spec)))
        return PipelineJob(name, kind, spec, needs, str(entry.get("request_id") or ""))

    def _filled(self, value: Json, values: Mapping[str, Json], path: str) -> Json:
        """Returns a value with its variables filled in."""
        if isinstance(value, dict):
            return {key: self._filled(item, values, f"{path}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item, values, f"{path}[{i}]") for i, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        whole = _REFERENCE.fullmatch(value)
        if whole and not whole[1] and whole[2].startswith("var:"):
            return self._variable(whole[2][4:], values, path)

        def one(match: re.Match[str]) -> str:
            if match[1] or not match[2].startswith("var:"):
                return match[0]
            found = self._variable(match[2][4:], values, path)
            if isinstance(found, dict | list):
                self._wrong(path, f"${{{match[2]}}} is a {type(found).__name__}, which cannot be part of a text")
            return _text(found)

        return _REFERENCE.sub(one, value)

    def _variable(self, name: str, values: Mapping[str, Json], path: str) -> Json:
        if name not in values:
            self._wrong(path, f"there is no variable {name!r}; {suggestion(name, values)}")
            return ""
        if values[name] is None:
            self._wrong(path, f"the variable {name!r} has no value; give it one with --set {name}=VALUE")
            return ""
        return values[name]

    # ------------------------------------------------------------------ checks

    def check(self, job: PipelineJob, jobs: Mapping[str, PipelineJob]) -> None:
        """Looks at the references, then at the fields, of one job."""
        path = f"jobs.{job.name}.spec"
        for where, text in _texts(dict(job.spec), path):
            for name in _references(text):
                if name not in jobs:
                    self._wrong(where, f"${{{name}}}: there is no job {name!r}; {suggestion(name, jobs)}")
                elif jobs[name].kind == SWEEP.kind and not (text == f"${{{name}}}" and where.endswith("]")):
                    self._wrong(where, f"${{{name}}} is a sweep, several coders; it can only be an item of a list")
            whole = _REFERENCE.fullmatch(text)
            if whole and not whole[1] and whole[2] in jobs:
                self._check_kind(where, jobs[whole[2]])
        try:
            spec_message(job.render(dict.fromkeys(job.needs, "x")), _KINDS[job.kind].spec)
        except InvalidSpec as error:
            for violation in error.violations:
                self._wrong(f"{path}.{violation.field}" if violation.field else path, violation.description)

    def _check_kind(self, where: str, made: PipelineJob) -> None:
        """A field `coder_id` takes a coder; `scores_ids` take scores."""
        field = re.sub(r"\[\d+\]$", "", where).rsplit(".", 1)[-1]
        wanted = field.removesuffix("s").removesuffix("_id")
        makes = "coder" if made.kind == SWEEP.kind else made.kind
        if field.endswith(("_id", "_ids")) and wanted in SUBMITS and wanted != makes:
            self._wrong(where, f"{field} takes an artifact of kind {wanted}, but job {made.name!r} makes {makes}")

    def ordered(self, jobs: Mapping[str, PipelineJob]) -> Sequence[str]:
        """Returns the names so that each comes after what it needs, otherwise in the order of the file."""
        done: dict[str, None] = {}
        trail: list[str] = []

        def visit(name: str) -> None:
            if name in done:
                return
            if name in trail:
                circle = [*trail[trail.index(name) :], name]
                self._wrong(f"jobs.{name}", f"jobs need each other in a circle: {' -> '.join(circle)}")
                self.finish()
            trail.append(name)
            for needed in jobs[name].needs:
                visit(needed)
            trail.pop()
            done[name] = None

        for name in jobs:
            visit(name)
        return list(done)


def _text(value: Json) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _texts(value: Json, path: str) -> Iterator[tuple[str, str]]:
    """Yields every text in a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, f"{path}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}")


def _references(value: Json) -> list[str]:
    """Returns the names that a value refers to, in order, with repeats."""
    found = (_REFERENCE.finditer(text) for _, text in _texts(value, ""))
    return [match[2] for matches in found for match in matches if not match[1]]


def _substituted(value: Json, id_of: Callable[[str], str | Sequence[str]]) -> Any:
    if isinstance(value, dict):
        return {key: _substituted(item, id_of) for key, item in value.items()}
    if isinstance(value, list):
        return [one for item in value for one in _spliced(item, id_of)]
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda match: match[0][1:] if match[1] else str(id_of(match[2])), value)


def _spliced(item: Json, id_of: Callable[[str], str | Sequence[str]]) -> list[Any]:
    """Returns what an item of a list becomes: several where it is a sweep."""
    whole = _REFERENCE.fullmatch(item) if isinstance(item, str) else None
    ids = id_of(whole[2]) if whole and not whole[1] else ""
    return [_substituted(item, id_of)] if isinstance(ids, str) else list(ids)
