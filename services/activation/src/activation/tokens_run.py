"""Tasks of the `tokens` kind."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import PartInfo
from dragoman.errors import UserTaskError
from dragoman.kinds import Context, Part, Progress
from safetensors import safe_open
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from activation.core.cutting import text_pieces
from activation.core.packing import Rows, RowShape, equal_blocks, pack_rows
from activation.core.splitting import draw_documents
from activation.corpus import Corpus
from activation.description import TokenizerDescription
from activation.spec import TokensSpec

_BATCH_CHARS = 1 << 20
_TOKENS_PER_PART = 1 << 22
_TABLE_ROWS = 1 << 16
_OPEN_FILES = 256

# Columns of the table of segments of an intermediate part: a segment is a run of tokens of one document.
_DOCUMENT, _CUT, _TOKENS, _CHARS, _BYTES = range(5)


def tokenise(spec: TokensSpec, context: Context, corpus: Corpus, tokenizer_file: Path) -> Iterator[Progress | Part]:
    """Stage 0: tokenises the drawn documents of one group, batch by batch, to intermediate parts."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    tokenizer = text_tokenizer(tokenizer_file)
    drawn = _drawn(spec, corpus.document_count)[first:end]
    held = _Segments()
    number = seen = 0
    for batch in _batches(_pieces(corpus, first, end, drawn)):
        held.extend(_encode(tokenizer, batch, spec.max_document_tokens, held.open_cut))
        seen = batch[-1][0] + 1 - first
        yield Progress(seen, end - first, "documents", f"{held.total:,} tokens")
        if held.count >= _TOKENS_PER_PART:
            yield from _segments_part(context, number, held)
            held, number = held.rest(), number + 1
    if held.count or not number:
        yield from _segments_part(context, number, held)
    yield Progress(end - first, end - first, "documents", f"{held.total:,} tokens")


def text_tokenizer(path: Path) -> Tokenizer:
    """Returns a tokenizer that takes text for text: "<|endoftext|>" in a document is not the special token."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _drawn(spec: TokensSpec, document_count: int) -> "np.ndarray[Any, Any]":
    draw = draw_documents(document_count, spec.max_documents, spec.test_fraction, spec.seed)
    drawn = np.zeros(document_count, np.bool_)
    drawn[draw.train] = drawn[draw.test] = True
    return drawn


def _pieces(corpus: Corpus, first: int, end: int, drawn: "np.ndarray[Any, Any]") -> Iterator[tuple[int, str]]:
    for document, text in corpus.read(first, end):
        if drawn[document - first]:
            yield document, ""
            for piece in text_pieces(text):
                yield document, piece


def _batches(pieces: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    batch: list[tuple[int, str]] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece[1])
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@dataclass(slots=True)
class _Segments:
    """Tokens and the segments they belong to, gathered until there are enough for a part."""

    tokens: list[Any] = field(default_factory=list[Any])
    table: list[list[int]] = field(default_factory=list[list[int]])
    count: int = 0
    total: int = 0
    open_cut: tuple[int, int, int] = (-1, 0, 0)
    """Document, cut and tokens in it so far of the document that may go on."""

    def extend(self, segments: "Iterable[tuple[list[int], Any]]") -> None:
        """Adds segments: row of the table, tokens."""
        for row, tokens in segments:
            self.table.append(row)
            self.tokens.append(tokens)
            self.count += len(tokens)
            self.total += len(tokens)
            same = self.open_cut[:2] == (row[_DOCUMENT], row[_CUT])
            self.open_cut = (row[_DOCUMENT], row[_CUT], len(tokens) + (self.open_cut[2] if same else 0))

    def rest(self) -> "_Segments":
        """An empty one that goes on where this one ended."""
        return _Segments(total=self.total, open_cut=self.open_cut)


def _encode(
    tokenizer: Tokenizer, batch: Sequence[tuple[int, str]], max_tokens: int, open_cut: tuple[int, int, int]
) -> Iterator[tuple[list[int], Any]]:
    texts = [text for _, text in batch]
    encode: Any = tokenizer.encode_batch if max_tokens else tokenizer.encode_batch_fast
    for (document, text), encoded in zip(batch, encode(texts, add_special_tokens=False), strict=True):
        ids = np.asarray(encoded.ids, np.int32)
        if not max_tokens:
            yield [document, 0, len(ids), len(text), len(text.encode())], ids
            continue
        for segment in _cut(document, text, ids, encoded.offsets, max_tokens, open_cut):
            yield segment
            row = segment[0]
            same = open_cut[:2] == (document, row[_CUT])
            open_cut = (document, row[_CUT], row[_TOKENS] + (open_cut[2] if same else 0))


def _cut(
    document: int,
    text: str,
    ids: Any,
    offsets: Sequence[tuple[int, int]],
    max_tokens: int,
    open_cut: tuple[int, int, int],
) -> Iterator[tuple[list[int], Any]]:
    """Cuts one piece of a document where its tokens reach the limit; characters go with the tokens they begin with."""
    cut, held = open_cut[1:] if open_cut[0] == document else (0, 0)
    at = char = 0
    while True:
        if held == max_tokens and at < len(ids):
            cut, held = cut + 1, 0
        end = min(len(ids), at + max_tokens - held)
        end_char = offsets[end][0] if end < len(ids) else len(text)
        part = text[char:end_char]
        yield [document, cut, end - at, len(part), len(part.encode())], ids[at:end]
        held, at, char = held + end - at, end, end_char
        if at >= len(ids):
            return


def _segments_part(context: Context, number: int, held: _Segments) -> Iterator[Part]:
    name = f"segments-{context.task.index:05d}-{number:04d}.safetensors"
    path = context.scratch / name
    tokens = np.concatenate([np.empty(0, np.int32), *held.tokens]).astype(np.int32)
    table = np.asarray(held.table, np.int64).reshape(-1, 5)
    save_file({"tokens": tokens, "table": table}, path)
    yield Part(name, path=path, row_count=len(table), keep=False)
    path.unlink(missing_ok=True)


def pack(
    spec: TokensSpec,
    context: Context,
    corpus: Corpus,
    tokenizer: TokenizerDescription,
    bos: int | None,
    rows_per_shard: int,
) -> Iterator[Progress | Part]:
    """Stage 1: packs all documents in seeded order, the train split first, and lists them."""
    library = _Library(context, context.parts[0])
    pad = next(id_ for id_ in (tokenizer.pad_id, tokenizer.eos_id, bos, 0) if id_ is not None)
    shape = RowShape(spec.ctx_len, bos, pad)
    draw = draw_documents(corpus.document_count, spec.max_documents, spec.test_fraction, spec.seed)
    splits = [library.documents_of(order) for order in (draw.train, draw.test)]
    if not library.token_count:
        raise UserTaskError(f"the {len(draw.train) + len(draw.test)} documents drawn from {spec.source} hold no tokens")
    row_counts = [-(-sum(d.token_count for d in split) // shape.payload) for split in splits]
    first_row = 0
    for block in equal_blocks(_packed(library, splits, shape), rows_per_shard):
        yield from _rows_part(context, first_row, rows_per_shard, block)
        first_row += len(block)
        yield Progress(first_row * shape.payload, sum(row_counts) * shape.payload, "tokens", f"{first_row:,} rows")
    path = context.scratch / "documents.parquet"
    _write_documents(path, corpus, splits)
    metadata: dict[str, Any] = {
        "ctx_len": spec.ctx_len,
        "row_count": sum(row_counts),
        "train_row_count": row_counts[0],
        "test_row_count": row_counts[1],
        "token_count": library.token_count,
        "document_count": len(splits[0]) + len(splits[1]),
        "train_document_count": len(splits[0]),
        "test_document_count": len(splits[1]),
        "rows_per_shard": rows_per_shard,
        "vocab_size": tokenizer.vocab_size,
        "bos_token_id": bos,
        "pad_token_id": pad,
        "has_bos": bos is not None,
        "char_count": sum(d.char_count for split in splits for d in split),
        "byte_count": sum(d.byte_count for split in splits for d in split),
    }
    yield Part("documents.parquet", path=path, row_count=len(splits[0]) + len(splits[1]), metadata=metadata)


@dataclass(slots=True)
class _Document:
    """A document, or one cut of a long one, and where its tokens are: part, first and end token."""

    number: int
    cut: int
    char_count: int = 0
    byte_count: int = 0
    token_count: int = 0
    places: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])


class _Library:
    """The intermediate parts of stage 0: which tokens are of which document."""

    def __init__(self, context: Context, parts: Sequence[PartInfo]) -> None:
        self._context = context
        self._names = [p.name for p in parts]
        self._open: dict[int, Any] = {}
        self._documents: dict[int, list[_Document]] = {}
        self.token_count = 0
        for at, name in enumerate(self._names):
            with safe_open(context.own.download(name), "numpy") as file:
                self._add(at, file.get_tensor("table"))

    def documents_of(self, order: "np.ndarray[Any, Any]") -> list[_Document]:
        """Returns documents in an order, each followed by its further cuts."""
        return [cut for number in order.tolist() for cut in self._documents[number]]

    def tokens(self, document: _Document) -> Iterator["np.ndarray[Any, Any]"]:
        """Yields the tokens of a document, of one part after the other."""
        for at, first, end in document.places:
            if end > first:
                yield self._file(at).get_slice("tokens")[first:end]

    def _file(self, at: int) -> Any:
        if at not in self._open:
            if len(self._open) >= _OPEN_FILES:
                self._open.clear()
            self._open[at] = safe_open(self._context.own.download(self._names[at]), "numpy")
        return self._open[at]

    def _add(self, at: int, table: "np.ndarray[Any, Any]") -> None:
        begin = 0
        for number, cut, tokens, chars, size in table.tolist():
            cuts = self._documents.setdefault(number, [])
            if len(cuts) <= cut:
                cuts.append(_Document(number, cut))
            document = cuts[cut]
            document.char_count += chars
            document.byte_count += size
            document.token_count += tokens
            document.places.append((at, begin, begin + tokens))
            begin += tokens
        self.token_count += begin


def _packed(library: _Library, splits: Sequence[Sequence[_Document]], shape: RowShape) -> Iterator[Rows]:
    index = 0
    for split in splits:
        pieces = ((index + i, tokens) for i, document in enumerate(split) for tokens in library.tokens(document))
        yield from pack_rows(pieces, shape)
        index += len(split)


def _rows_part(context: Context, first_row: int, rows_per_shard: int, rows: Rows) -> Iterator[Part]:
    name = f"rows-{first_row // rows_per_shard:05d}.safetensors"
    path = context.scratch / name
    save_file({"tokens": rows.tokens, "documents": rows.documents}, path)
    counted = int((rows.documents >= 0).sum())
    metadata: dict[str, Any] = {"first_row": first_row, "row_count": len(rows), "token_count": counted}
    yield Part(name, path=path, row_count=len(rows), metadata=metadata)
    path.unlink(missing_ok=True)


def _write_documents(path: Path, corpus: Corpus, splits: Sequence[Sequence[_Document]]) -> None:
    schema = pa.schema(
        [
            ("document", pa.int32()),
            ("name", pa.string()),
            ("split", pa.string()),
            ("char_count", pa.int64()),
            ("token_count", pa.int64()),
        ]
    )
    listed = [(split, d) for split, documents in zip(("train", "test"), splits, strict=True) for d in documents]
    with pq.ParquetWriter(path, schema) as writer:
        for at in range(0, len(listed), _TABLE_ROWS):
            records = [
                {
                    "document": at + i,
                    "name": _name(corpus, document),
                    "split": split,
                    "char_count": document.char_count,
                    "token_count": document.token_count,
                }
                for i, (split, document) in enumerate(listed[at : at + _TABLE_ROWS])
            ]
            writer.write_table(pa.Table.from_pylist(records, schema=schema))


def _name(corpus: Corpus, document: _Document) -> str:
    name = corpus.name(document.number)
    return f"{name}[{document.cut}]" if document.cut else name
