"""A corpus: the documents of a source, numbered in the order of its files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.store import Store
from hooked_models.fingerprints import JsonCache, combined, remembered
from hooked_models.sources import SourceFile, list_allowed

from activation.core.document_field import DocumentField
from activation.core.formats import MalformedText, Mark, format_of, read_documents, scan

TEXTS = "texts.parquet"
"""The part of a texts artifact that holds them, a row each."""


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One file of a corpus, scanned."""

    file: SourceFile
    format: str
    sha256: str
    document_count: int
    has_text: bool
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Corpus:
    """Scanned files. Documents are numbered from 0 over all of them."""

    files: Sequence[CorpusFile]
    document_field: DocumentField
    firsts: Any = field(init=False)
    """int64 [files + 1]: number of the first document of each file, and of all documents."""

    def __post_init__(self) -> None:
        counts = [f.document_count for f in self.files]
        object.__setattr__(self, "firsts", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    @property
    def document_count(self) -> int:
        """Documents in all files."""
        return int(self.firsts[-1])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names and sums of the files."""
        return combined((f.file.name, f.sha256) for f in self.files)

    def name(self, document: int) -> str:
        """Name of a document: its file, and its number in it where a file holds several."""
        at = int(np.searchsorted(self.firsts, document, side="right")) - 1
        file = self.files[at]
        return file.file.name if file.format == "text" else f"{file.file.name}#{document - int(self.firsts[at])}"

    def groups(self, target_bytes: int) -> list[tuple[int, int]]:
        """Cuts the documents at marks into groups of about `target_bytes` of file."""
        groups: list[tuple[int, int]] = []
        first, held = 0, 0.0
        for file, base in zip(self.files, self.firsts, strict=False):
            for mark in file.marks:
                begin = int(base) + mark[0]
                if held >= target_bytes and begin > first:
                    groups.append((first, begin))
                    first, held = begin, 0.0
                held += file.file.size_bytes / len(file.marks)
        if self.document_count > first:
            groups.append((first, self.document_count))
        return groups

    def read(self, first: int, end: int) -> Iterator[tuple[int, Iterator[str]]]:
        """Yields (document, text in chunks) of documents `first:end`; `first` must be at a mark."""
        for file, base in zip(self.files, self.firsts, strict=False):
            low, high = max(first - int(base), 0), min(end - int(base), file.document_count)
            if low >= high:
                continue
            mark = max(m for m in file.marks if m[0] <= low)
            with file.file.open() as stream:
                for ordinal, text in read_documents(
                    file.file.name, file.format, stream, self.document_field, mark, high
                ):
                    if ordinal >= low:
                        yield int(base) + ordinal, text


def scan_corpus(
    source: str, format: str, document_field: DocumentField, store: Store | None, cache: JsonCache
) -> Corpus:
    """Reads every file of a source once, or what is remembered of it. Raises InvalidSpec or MalformedText."""
    return _scanned(list_allowed(source, store, field_name="source"), source, format, document_field, cache)


def texts_corpus(texts_id: str, path: Path, document_field: DocumentField, cache: JsonCache) -> Corpus:
    """Reads the texts of a texts artifact once, or what is remembered of them; `path`: of the part TEXTS."""
    status = path.stat()
    file = SourceFile(TEXTS, status.st_size, texts_id, str(path))
    return _scanned([file], texts_id, "parquet", document_field, cache)


def _scanned(
    files: Sequence[SourceFile], source: str, format: str, document_field: DocumentField, cache: JsonCache
) -> Corpus:
    def make(file: SourceFile) -> list[Any]:
        with file.open() as stream:
            found = scan(file.name, format_of(file.name, format), stream, document_field)
        return [found.sha256, found.document_count, found.has_text, [list(m) for m in found.marks]]

    scans = remembered(cache, files, ("corpus", source, format, *document_field.key), make)
    scanned: list[CorpusFile] = []
    for file in files:
        sha256, count, has_text, marks = scans[file.name]
        scanned.append(
            CorpusFile(file, format_of(file.name, format), sha256, count, has_text, tuple((m[0], m[1]) for m in marks))
        )
    return Corpus(scanned, document_field)


def checked_corpus(
    source: str, format: str, document_field: DocumentField, store: Store | None, cache: JsonCache
) -> Corpus:
    """As `scan_corpus`, for a spec that is submitted: raises InvalidSpec also when there is no text at all."""
    try:
        corpus = scan_corpus(source, format, document_field, store, cache)
    except MalformedText as error:
        named = "text_field" if document_field.template is None else "messages_field"
        field_name = named if error.reason == "NO_TEXT_FIELD" else "source"
        raise InvalidSpec(error.message, field=field_name, reason=error.reason) from error
    if not corpus.document_count:
        raise InvalidSpec(
            f"{source} holds zero documents in {len(corpus.files)} files", field="source", reason="SOURCE_EMPTY"
        )
    if not any(f.has_text for f in corpus.files):
        raise InvalidSpec(
            f"all {corpus.document_count} documents of {source} are empty or white space",
            field="source",
            reason="SOURCE_EMPTY",
        )
    return corpus


def unchanged_corpus(
    source: str, format: str, document_field: DocumentField, fingerprint: str, store: Store | None, cache: JsonCache
) -> Corpus:
    """As `scan_corpus`, for a task: raises UserTaskError when the files are not those of the spec any more."""
    corpus = scan_corpus(source, format, document_field, store, cache)
    if corpus.fingerprint != fingerprint:
        raise UserTaskError(
            f"{source} changed since the job was submitted: its sha256 is {corpus.fingerprint[:12]}..., "
            f"the spec says {fingerprint[:12]}...; submit the job again",
            reason="SOURCE_CHANGED",
        )
    return corpus
