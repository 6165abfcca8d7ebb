"""What is checked of a submission before anything outside is asked: its spec, and what its inputs are called."""

import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, Violation
from dragoman.ids import Json, canonical_json, kind_of
from dragoman.kinds import AnyKind, Spec
from dragoman.principals import PUBLIC
from dragoman.rpc.info import MAX_SPEC_BYTES
from dragoman.rpc.invalid import invalid_spec


def parse(kind: AnyKind, spec: Mapping[str, Json]) -> Spec:
    """Returns a spec of the kind's own type, defaults written out. Raises InvalidSpec."""
    try:
        size = len(canonical_json(dict(spec)))
    except ValueError as error:
        raise InvalidSpec("the spec holds a number that is not finite; expected what JSON can say") from error
    if size > MAX_SPEC_BYTES:
        raise InvalidSpec(f"the spec has {size} bytes; at most {MAX_SPEC_BYTES}", reason="SPEC_TOO_LARGE")
    try:
        return kind.spec.model_validate(json.loads(json.dumps(dict(spec))))
    except ValidationError as error:
        raise invalid_spec(error, kind.spec) from error


def inputs_of(kind: AnyKind, spec: Spec) -> Mapping[str, str]:
    """Returns role to artifact id. Raises InvalidSpec where an id is none, or of another kind than its role takes."""
    inputs = kind.inputs(spec)
    violations: list[Violation] = []
    for role, id_ in inputs.items():
        expected = kind.input_kinds[".".join(part for part in role.split(".") if not part.isdigit())]
        try:
            actual = kind_of(id_, field=role)
        except InvalidSpec as error:
            violations += error.violations
            continue
        if actual != expected:
            article = "an" if actual[0] in "aeiou" else "a"
            violations.append(Violation(role, f"{id_} is {article} {actual} artifact; expected one of kind {expected}"))
    if violations:
        raise InvalidSpec(violations, reason="WRONG_INPUT")
    return inputs


def visible(
    infos: Mapping[str, InputInfo], unknown: Sequence[str], namespace: str
) -> tuple[Mapping[str, InputInfo], Sequence[str]]:
    """Returns what a job of a namespace may know of its inputs: those of another one are as unknown as what is not."""
    known = {role: info for role, info in infos.items() if info.namespace in (PUBLIC, namespace)}
    return known, [*unknown, *(role for role in infos if role not in known)]


def unknown_inputs(unknown: Sequence[str], inputs: Mapping[str, str]) -> str:
    """Says which inputs nothing is known of."""
    listed = ", ".join(f"{role} = {inputs[role]}" for role in unknown)
    return f"no artifact and no job is known for {listed}; submit the job that makes it first"
