"""Typed spec messages and plain dicts, both ways, by reflection: one rule for every spec there will ever be."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from dragoman.errors import InvalidSpec, Violation
from dragoman.ids import Json
from dragoman.nearest import suggestion

M = TypeVar("M", bound=Message)

_INT_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def field_names(message_class: type[Message]) -> list[str]:
    """Returns the names of the fields of a message, in the order of the proto file."""
    return [field.name for field in message_class.DESCRIPTOR.fields]


# ------------------------------------------------------------------ to a dict


def spec_dict(message: Message) -> dict[str, Json]:
    """Returns a spec as plain Python, with only what was given.

    Unset optionals, empty lists, unset messages, UNSPECIFIED enums and plain scalars at their protobuf default are left
    out, so that the defaults of the spec's model apply. Enums become short lower-case names.

    Raises InvalidSpec, with dotted paths, for fields or enum values that this version does not know, and for numbers
    that are not finite.
    """
    violations: list[Violation] = []
    result = _read_message(message, "", violations)
    if violations:
        raise InvalidSpec(violations)
    return result


def _read_message(message: Message, path: str, violations: list[Violation]) -> dict[str, Json]:
    violations.extend(_unknown_numbers(message, path))
    result: dict[str, Json] = {}
    for field, value in message.ListFields():
        if _enum_unset(field, value):
            continue
        result[field.name] = _read_field(field, value, _join(path, field.name), violations)
    return result


def _unknown_numbers(message: Message, path: str) -> Iterable[Violation]:
    for unknown in UnknownFieldSet(message):
        yield Violation(
            path,
            f"field number {unknown.field_number} of {message.DESCRIPTOR.name} is not known to this version; "
            "the client is newer than the server: update the server or leave the field out",
        )


def _enum_unset(field: FieldDescriptor, value: object) -> bool:
    return field.cpp_type == FieldDescriptor.CPPTYPE_ENUM and not field.is_repeated and value == 0


def _read_field(field: FieldDescriptor, value: Any, path: str, violations: list[Violation]) -> Json:
    if not field.is_repeated:
        return _read_value(field, value, path, violations)
    item_field = _map_value(field)
    if item_field is not None:
        return {str(k): _read_value(item_field, value[k], _join(path, str(k)), violations) for k in value}
    return [_read_value(field, item, f"{path}[{i}]", violations) for i, item in enumerate(value)]


def _read_value(field: FieldDescriptor, value: Any, path: str, violations: list[Violation]) -> Json:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return _read_message(value, path, violations)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return _read_enum(_enum(field), value, path, violations)
    if field.cpp_type in _FLOATS and not math.isfinite(value):
        violations.append(Violation(path, f"{value} is not a finite number"))
    return value


def _read_enum(enum: EnumDescriptor, number: int, path: str, violations: list[Violation]) -> str:
    known = enum.values_by_number.get(number)
    if known is None or known.number == 0:
        said = "UNSPECIFIED" if known else f"number {number}"
        violations.append(Violation(path, f"{said} is not a known {enum.name}; the choices are {_listed(enum)}"))
        return ""
    return _short(enum, known.name)


# ------------------------------------------------------------- to a message


def spec_message(spec: Mapping[str, Any], message_class: type[M]) -> M:
    """Returns a typed spec message of plain Python; None means "not given".

    Raises InvalidSpec with one violation for each wrong field: unknown (with the nearest names), of the wrong type, out
    of the type's range, or not one of the choices.
    """
    violations: list[Violation] = []
    message = message_class()
    _write_message(message, spec, "", violations)
    if violations:
        raise InvalidSpec(violations)
    return message


def _write_message(message: Message, spec: object, path: str, violations: list[Violation]) -> None:
    if not isinstance(spec, Mapping):
        violations.append(Violation(path, f"expected a mapping of field names to values, got {_said(spec)}"))
        return
    fields = {field.name: cast(FieldDescriptor, field) for field in message.DESCRIPTOR.fields}
    for name, value in cast("Mapping[object, object]", spec).items():
        field = fields.get(name) if isinstance(name, str) else None
        if field is None:
            violations.append(_unknown_name(message.DESCRIPTOR.name, fields, str(name), path))
        elif value is not None:
            _write_field(message, field, value, _join(path, field.name), violations)


def _unknown_name(message: str, fields: Iterable[str], name: str, path: str) -> Violation:
    return Violation(_join(path, name), f"{message} has no field {name!r}; {suggestion(name, fields)}")


def _write_field(message: Message, field: FieldDescriptor, value: object, path: str, bad: list[Violation]) -> None:
    if field.is_repeated:
        _write_repeated(getattr(message, field.name), field, value, path, bad)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        nested = getattr(message, field.name)
        nested.SetInParent()
        _write_message(nested, value, path, bad)
    else:
        _checked(field, value, path, bad, lambda scalar: setattr(message, field.name, scalar))


def _write_repeated(target: Any, field: FieldDescriptor, value: object, path: str, bad: list[Violation]) -> None:
    item_field = _map_value(field)
    if item_field is not None:
        _write_map(target, item_field, value, path, bad)
        return
    if isinstance(value, str) or not isinstance(value, Sequence):
        bad.append(Violation(path, f"expected a list, got {_said(value)}"))
        return
    for i, item in enumerate(cast("Sequence[object]", value)):
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            _write_message(target.add(), item, f"{path}[{i}]", bad)
        else:
            _checked(field, item, f"{path}[{i}]", bad, target.append)


def _write_map(target: Any, field: FieldDescriptor, value: object, path: str, bad: list[Violation]) -> None:
    if not isinstance(value, Mapping):
        bad.append(Violation(path, f"expected a mapping, got {_said(value)}"))
        return
    for key, item in cast("Mapping[str, object]", value).items():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            _write_message(target[key], item, _join(path, key), bad)
        else:
            _checked(field, item, _join(path, key), bad, lambda scalar, key=key: target.update({key: scalar}))


def _checked(
    field: FieldDescriptor, value: object, path: str, bad: list[Violation], store: Callable[[Any], object]
) -> None:
    """Stores a scalar, or says in plain words why it cannot be."""
    scalar, problem = _scalar(field, value)
    if problem is None:
        try:
            store(scalar)
            return
        except (TypeError, ValueError) as error:  # text that is not Unicode, for one
            problem = f"{value!r} cannot be stored: {error}"
    bad.append(Violation(path, problem))


def _scalar(field: FieldDescriptor, value: object) -> tuple[Any, str | None]:
    """Returns the value as its field's type, or what is wrong with it."""
    kind = field.cpp_type
    if kind in _INT_BITS:
        return _whole(value, *_INT_BITS[kind])
    if kind in _FLOATS:
        return _number(value)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _choice(_enum(field), value)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return value, None if isinstance(value, bool) else f"expected true or false, got {_said(value)}"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return value, None if isinstance(value, bytes) else f"expected bytes, got {_said(value)}"
    return value, None if isinstance(value, str) else f"expected text, got {_said(value)}"


def _whole(value: object, low: int, high: int) -> tuple[int, str | None]:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0, f"expected a whole number, got {_said(value)}"
    return (value, None) if low <= value <= high else (0, f"{value} is out of range; expected {low} to {high}")


def _number(value: object) -> tuple[float, str | None]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0, f"expected a number, got {_said(value)}"
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return (number, None) if math.isfinite(number) else (0.0, f"{value} is not a finite number")


def _choice(enum: EnumDescriptor, value: object) -> tuple[int, str | None]:
    choices = {_short(enum, known.name): known.number for known in enum.values if known.number}
    if isinstance(value, str) and value in choices:
        return choices[value], None
    if isinstance(value, str):
        return 0, f"{value!r} is not a known {enum.name}; {suggestion(value, choices)}"
    return 0, f"expected one of {_listed(enum)}, got {_said(value)}"


# ------------------------------------------------------------------ wording


def _short(enum: EnumDescriptor, name: str) -> str:
    """WEIGHTS_VARIANT_TRAINED -> trained. The prefix is what stands before UNSPECIFIED."""
    return name.removeprefix(enum.values_by_number[0].name.removesuffix("UNSPECIFIED")).lower()


def _listed(enum: EnumDescriptor) -> str:
    return ", ".join(_short(enum, value.name) for value in enum.values if value.number)


def _said(value: object) -> str:
    names: dict[type, str] = {
        str: "text",
        bool: "truth value",
        int: "whole number",
        float: "number",
        list: "list",
        dict: "mapping",
    }
    type_: type = type(value)
    kind = names.get(type_, type_.__name__)
    shown = repr(value)
    return f"the {kind} {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _enum(field: FieldDescriptor) -> EnumDescriptor:
    assert field.enum_type is not None
    return field.enum_type


def _map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """Returns the descriptor of a map's values; None when the field is no map."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["value"]
