"""Text formats: counting, checking and reading the documents of one file.

A mark is the ordinal of a document in its file and the place from which it can be read: a byte offset (text, JSONL) or
a row group (Parquet). Work is cut at marks only.
"""

import codecs
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.errors import UserTaskError
from dragoman.nearest import suggestion

from activation.core.document_field import DocumentField

Mark = tuple[int, int]
_CHUNK = 1 << 20
_CHECKED_LINES = 1000
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}


class MalformedText(UserTaskError):
    """A file does not hold what its format promises."""

    reason = "MALFORMED_TEXT"


@dataclass(frozen=True, slots=True)
class Scan:
    """What one reading of a whole file found."""

    sha256: str
    document_count: int
    has_text: bool
    marks: tuple[Mark, ...]


def format_of(name: str, format: str) -> str:
    """Returns the format of a file: its extension decides when `format` is "auto"."""
    if format != "auto":
        return format
    extension = name.rsplit(".", 1)[-1].lower()
    return {"jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet"}.get(extension, "text")


def scan(name: str, format: str, stream: BinaryIO, document_field: DocumentField) -> Scan:
    """Reads a whole file once: its sum, its documents, and what is wrong with it. Raises MalformedText."""
    if format == "parquet":
        return _scan_parquet(name, stream, document_field)
    if format == "jsonl":
        return _scan_jsonl(name, stream, document_field)
    if document_field.template is not None:
        raise MalformedText(
            f"{name} is plain text and has no field {document_field.name!r}; conversations are JSONL or Parquet",
            reason="NO_TEXT_FIELD",
        )
    return _scan_text(name, stream)


def read_documents(
    name: str, format: str, stream: BinaryIO, document_field: DocumentField, mark: Mark, end: int
) -> Iterator[tuple[int, Iterator[str]]]:
    """Yields (ordinal, text in chunks) of the documents from a mark up to `end`. Raises MalformedText."""
    if format == "text":
        yield 0, _decoded(name, stream)
    elif format == "jsonl":
        for ordinal, text in _read_jsonl(name, stream, document_field, mark, end):
            yield ordinal, iter((text,))
    else:
        for ordinal, text in _read_parquet(name, stream, document_field, mark, end):
            yield ordinal, iter((text,))


def _not_utf8(name: str, offset: int, data: bytes) -> MalformedText:
    packed = next((label for magic, label in _COMPRESSED.items() if data.startswith(magic)), None)
    hint = f"it is a {packed} file: unpack it first" if packed else "convert it, for example with iconv -t UTF-8"
    return MalformedText(f"{name} is not UTF-8: the byte at offset {offset} cannot be decoded; {hint}")


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _decoded(name: str, stream: BinaryIO) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, first = 0, b""
    for chunk in _chunks(stream):
        first = first or chunk[:8]
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise _not_utf8(name, offset - pending + error.start, first) from error
        yield text.removeprefix("\ufeff") if offset == 0 else text
        offset += len(chunk)
    if decoder.getstate()[0]:
        raise _not_utf8(name, offset - len(decoder.getstate()[0]), first)


class _Hashing:
    """Passes bytes on and sums them up."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.sum.update(data)
        return data


def _scan_text(name: str, stream: BinaryIO) -> Scan:
    hashing: Any = _Hashing(stream)
    has_text = False
    for text in _decoded(name, hashing):
        has_text = has_text or not (not text or text.isspace())
    return Scan(hashing.sum.hexdigest(), 1, has_text, ((0, 0),))


def _scan_jsonl(name: str, stream: BinaryIO, document_field: DocumentField) -> Scan:
    total, count, offset, marked, has_text = hashlib.sha256(), 0, 0, -_CHUNK, False
    marks: list[Mark] = []
    for line in stream:
        total.update(line)
        if line.strip():
            if offset - marked >= _CHUNK:
                marks.append((count, offset))
                marked = offset
            if count < _CHECKED_LINES or not has_text:
                has_text = bool(_line_text(name, line, offset, count, document_field).strip()) or has_text
            else:
                _decode_line(name, line, offset)
            count += 1
        offset += len(line)
    return Scan(total.hexdigest(), count, has_text, tuple(marks))


def _decode_line(name: str, line: bytes, offset: int) -> str:
    try:
        return line.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(name, offset + error.start, line) from error


def _line_text(name: str, line: bytes, offset: int, ordinal: int, document_field: DocumentField) -> str:
    where, field = f"{name}, document {ordinal + 1} (byte {offset})", document_field.name
    decoded = _decode_line(name, line, offset)
    try:
        value: Any = json.loads(decoded)
    except ValueError as error:
        raise MalformedText(f"{where} is not JSON: {error}; expected one JSON object a line") from error
    if not isinstance(value, dict):
        raise MalformedText(f"{where} is a JSON {type(value).__name__}; expected an object with a field {field!r}")
    record: dict[str, Any] = value
    if field not in record:
        raise MalformedText(f"{where} has no field {field!r}; {suggestion(field, record)}", reason="NO_TEXT_FIELD")
    try:
        return document_field.text(record[field])
    except ValueError as error:
        raise MalformedText(f"{where}: {error}") from error


def _read_jsonl(
    name: str, stream: BinaryIO, document_field: DocumentField, mark: Mark, end: int
) -> Iterator[tuple[int, str]]:
    ordinal, offset = mark
    stream.seek(offset)
    for line in stream:
        if ordinal >= end:
            return
        if line.strip():
            yield ordinal, _line_text(name, line, offset, ordinal, document_field)
            ordinal += 1
        offset += len(line)


def _open_parquet(name: str, stream: BinaryIO, document_field: DocumentField) -> Any:
    try:
        file: Any = pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise MalformedText(f"{name} is not a Parquet file: {error}") from error
    schema = file.schema_arrow
    field = document_field.name
    if field not in schema.names:
        raise MalformedText(
            f"{name} has no column {field!r}; {suggestion(field, schema.names)}", reason="NO_TEXT_FIELD"
        )
    problem = document_field.column_problem(schema.field(field).type)
    if problem:
        raise MalformedText(f"{name}: {problem}")
    return file


def _scan_parquet(name: str, stream: BinaryIO, document_field: DocumentField) -> Scan:
    total = hashlib.sha256()
    for chunk in _chunks(stream):
        total.update(chunk)
    stream.seek(0)
    file = _open_parquet(name, stream, document_field)
    marks: list[Mark] = []
    count = 0
    for group in range(file.num_row_groups):
        marks.append((count, group))
        count += file.metadata.row_group(group).num_rows
    texts = _read_parquet(name, stream, document_field, (0, 0), count)
    return Scan(total.hexdigest(), count, any(text.strip() for _, text in texts), tuple(marks))


def _read_parquet(
    name: str, stream: BinaryIO, document_field: DocumentField, mark: Mark, end: int
) -> Iterator[tuple[int, str]]:
    file = _open_parquet(name, stream, document_field)
    ordinal, group = mark
    groups = list(range(group, file.num_row_groups))
    for batch in file.iter_batches(batch_size=256, row_groups=groups, columns=[document_field.name]):
        for value in batch.column(0).to_pylist():
            if ordinal >= end:
                return
            if value is None:
                raise MalformedText(f"{name}, row {ordinal}: column {document_field.name!r} is null; expected a value")
            try:
                yield ordinal, document_field.text(value)
            except ValueError as error:
                raise MalformedText(f"{name}, row {ordinal}: {error}") from error
            ordinal += 1
