"""google.protobuf.Struct and Timestamp, both ways."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from dragoman.ids import Json

_EXACT = 1 << 53
"""Whole numbers up to here survive a Struct, whose only number is a double."""


def struct_message(mapping: Mapping[str, Any]) -> Struct:
    """Returns a Struct. Whole numbers that a double cannot hold become decimal strings, as in protobuf's JSON."""
    return Struct(fields={str(key): _value(item) for key, item in mapping.items()})


def _value(item: object) -> Value:
    match item:
        case None:
            return Value(null_value=0)  # pyright: ignore[reportArgumentType]
        case bool():
            return Value(bool_value=item)
        case int():
            return Value(number_value=item) if abs(item) <= _EXACT else Value(string_value=str(item))
        case float():
            return Value(number_value=item)
        case str():
            return Value(string_value=item)
        case Mapping():
            return Value(struct_value=struct_message(cast("Mapping[str, Any]", item)))
        case Sequence():
            values = cast("Sequence[object]", item)
            return Value(list_value=ListValue(values=[_value(each) for each in values]))
        case _:
            raise TypeError(f"{type(item).__name__} does not fit a Struct: {item!r}")


def struct_dict(struct: Struct) -> dict[str, Json]:
    """Returns plain Python, keys in alphabetical order; whole numbers come back as int."""
    return {key: _plain(struct.fields[key]) for key in sorted(struct.fields)}


def _plain(value: Value) -> Json:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _EXACT else number
        case "string_value":
            return value.string_value
        case "struct_value":
            return struct_dict(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case _:
            return None


def timestamp(time: float) -> Timestamp | None:
    """Returns seconds since the epoch as a Timestamp; None for 0, which means "not yet"."""
    if not time:
        return None
    whole = math.floor(time)
    return Timestamp(seconds=whole, nanos=min(round((time - whole) * 1e9), 999_999_999))


def seconds(time: Timestamp) -> float:
    """Returns seconds since the epoch; 0 for an unset Timestamp."""
    return time.seconds + time.nanos / 1e9
