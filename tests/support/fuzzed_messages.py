"""Requests that nobody would send: hypothesis strategies over any protobuf message, and over JSON documents."""

import json
import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from hypothesis import strategies as st

HEX = "0123456789abcdef"
NUMBERS = (0, 1, -1, 2, 7, 8, 255, 4097, 10_001, 2**31 - 1, -(2**31))
LARGE = (2**53, 2**53 + 1, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e300, -1e300, float("nan"), float("inf"), float("-inf"))
NASTY = (
    "",
    " ",
    "\x00",
    "..",
    "../../etc/passwd",
    "/",
    "/dev/zero",
    "/proc/self/environ",
    "~",
    "s3://",
    "s3://dragoman/",
    "s3://other/x",
    "file:///etc/passwd",
    "http://127.0.0.1:1/",
    "layers.1",
    "layers.999999999999",
    "tokens-",
    "tokens-" + "0" * 31,
    "TOKENS-" + "0" * 32,
    "tokens-" + "0" * 32 + "\n",
    "*",
    ">",
    "a.b.>",
    "0-0",
    "\u202e",
    "x" * 5000,
    "{}",
    "0" * 400,
)


def texts(kinds: Sequence[str], known: Sequence[str]) -> st.SearchStrategy[str]:
    """Text of every sort: ids that exist, ids that do not, paths, names of subjects, anything."""
    ids = st.builds(
        lambda kind, tail: f"{kind}-{tail}", st.sampled_from(list(kinds)), st.text(HEX, min_size=32, max_size=32)
    )
    return st.one_of(st.sampled_from(NASTY), ids, st.sampled_from([*known, ""]), st.text(max_size=40))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.sampled_from([*NUMBERS, *LARGE]), st.floats(), st.sampled_from(NASTY)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
"""What JSON can say, and NaN."""


def scalar(field: FieldDescriptor, words: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any value that fits a field which holds no message."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return words
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return st.integers(-1, 40)
    if field.cpp_type in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return st.one_of(st.sampled_from(FLOATS), st.floats())
    wide = field.cpp_type in {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}
    return st.sampled_from([*NUMBERS, *(LARGE if wide else ())])


def change(draw: st.DrawFn, message: Message, words: st.SearchStrategy[str]) -> None:
    """Sets, changes or clears one field of a message, or of one inside it."""
    if isinstance(message, Struct):
        message.update({draw(st.sampled_from([*message.fields, "text"])): draw(json_values)})
        return
    if not message.DESCRIPTOR.fields:
        return
    field = draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
    entry = field.message_type
    if draw(st.integers(0, 9)) == 0 or (entry is not None and entry.GetOptions().map_entry):
        message.ClearField(field.name)
    elif field.is_repeated and entry is not None:
        for _ in range(draw(st.integers(0, 3))):
            change(draw, getattr(message, field.name).add(), words)
    elif field.is_repeated:
        message.ClearField(field.name)
        getattr(message, field.name).extend(draw(st.lists(scalar(field, words), max_size=4)))
    elif entry is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        change(draw, inner, words)
    else:
        setattr(message, field.name, draw(scalar(field, words)))


@st.composite
def requests(
    draw: st.DrawFn, message_class: type[Message], examples: Sequence[Message], words: st.SearchStrategy[str]
) -> bytes:
    """The bytes of a request: one that is right with a few things changed, one of few fields, or mere bytes."""
    way = draw(st.integers(0, 9))
    if way == 0:
        return draw(st.binary(max_size=100))
    message = message_class()
    if examples and way > 2:
        message.CopyFrom(draw(st.sampled_from(list(examples))))
    for _ in range(draw(st.integers(0, 4))):
        change(draw, message, words)
    data = message.SerializeToString()
    return data if way > 1 else draw(damaged(data))


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes with a few of them changed, cut short, or with others in the middle."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        middle = draw(st.binary(max_size=4))
        data = data[:at] + middle + data[at + draw(st.sampled_from((0, 1, len(middle), len(data)))) :]
    return data


@st.composite
def documents(draw: st.DrawFn, document: dict[str, Any]) -> Any:
    """A JSON document with one to three of its values replaced, dropped or joined by others, at any depth."""
    for _ in range(draw(st.integers(1, 3))):
        document = draw(_changed(document))
    return document


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from([*value, "another"]))
        match draw(st.integers(0, 3)):
            case 0:
                return {name: each for name, each in value.items() if name != key}
            case 1:
                return {**value, key: draw(json_values)}
            case _:
                return {**value, key: draw(_changed(value.get(key)))}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(_changed(value[at])), *value[at + 1 :]]
    return draw(json_values)


def plain(document: Any) -> bytes:
    """JSON of a document that may hold NaN."""
    return json.dumps(document).encode(errors="surrogatepass")


def bent(data: bytes) -> st.SearchStrategy[bytes]:
    """A file with damage where it says what it holds: JSON anywhere, safetensors in its length, header and bytes."""
    if data[:1] in (b"{", b"["):
        return st.one_of(damaged(data), documents(json.loads(data)).map(plain))
    end = 8 + struct.unpack("<Q", data[:8])[0]

    def with_header(header: bytes) -> bytes:
        return struct.pack("<Q", len(header)) + header + data[end:]

    headers = documents(json.loads(data[8:end])).map(plain).map(with_header)
    return st.one_of(damaged(data[:end]).map(lambda head: head + data[end:]), headers, damaged(data))
