"""The packing task of the `tokens` kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import PartInfo
from dragoman.errors import UserTaskError
from dragoman.ids import derived_seed
from dragoman.kinds import Context, Part, Progress
from hooked_models.description import TokenizerDescription
from latent_cache.token_policy import POLICY_VERSION
from latent_cache.token_shard import write_token_shard
from safetensors import safe_open

from activation.core.chat import ChatTemplate
from activation.core.packing import (
    Rows,
    RowShape,
    SecondBos,
    equal_blocks,
    masked,
    pack_rows,
    padded_documents,
    scrambled,
)
from activation.core.splitting import draw_documents
from activation.corpus import Corpus
from activation.spec import TokensSpec
from activation.tokenise_run import second_bos

_TABLE_ROWS = 1 << 16
_OPEN_FILES = 256


@dataclass(frozen=True, slots=True, eq=False)
class How:
    """What packing needs to know besides the spec."""

    tokenizer: TokenizerDescription
    bos_id: int | None
    template: ChatTemplate | None
    masked_ids: "np.ndarray[Any, Any]"
    """Tokens that do not count inside documents."""

    def shape(self, ctx_len: int) -> RowShape:
        """How a row is built."""
        ids = (self.tokenizer.pad_id, self.tokenizer.eos_id, self.bos_id, 0)
        return RowShape(ctx_len, self.bos_id, next(id_ for id_ in ids if id_ is not None))


def pack(
    spec: TokensSpec, context: Context, corpus: Corpus, how: How, rows_per_shard: int
) -> Iterator[Progress | Part]:
    """Stage 1: packs all documents in seeded order, the train split first, and lists them."""
    library = _Library(context, context.parts[0])
    shape = how.shape(spec.ctx_len)
    draw = draw_documents(corpus.document_count, spec.max_documents, spec.test_fraction, spec.seed)
    splits = [library.documents_of(order) for order in (draw.train, draw.test)]
    if not library.token_count:
        raise UserTaskError(f"the {sum(map(len, splits))} documents drawn from {spec.source} hold no tokens")
    row_counts = [_row_count(split, shape, spec.packing) for split in splits]
    first_row = 0
    for block in equal_blocks(_packed(spec, corpus, library, splits, shape), rows_per_shard):
        counted = masked(block, how.masked_ids)
        _count(counted, block, splits)
        yield from _rows_part(context, first_row, rows_per_shard, counted)
        first_row += len(block)
        yield Progress(first_row * shape.payload, sum(row_counts) * shape.payload, "tokens", f"{first_row:,} rows")
    path = context.scratch / "documents.parquet"
    _write_documents(path, corpus, splits)
    metadata = {
        **_counts(splits, row_counts),
        "ctx_len": spec.ctx_len,
        "rows_per_shard": rows_per_shard,
        "vocab_size": how.tokenizer.vocab_size,
        "bos_token_id": how.bos_id,
        "pad_token_id": shape.pad_id,
        "has_bos": how.bos_id is not None,
        "token_policy": _policy(spec, how, splits),
    }
    if not metadata["token_count"]:
        raise UserTaskError(
            f"the documents of {spec.source} hold nothing but special tokens; set count_special_tokens to count them"
        )
    yield Part("documents.parquet", path=path, row_count=sum(map(len, splits)), metadata=metadata)


def _row_count(split: "Sequence[_Document]", shape: RowShape, packing: str) -> int:
    if packing == "packed":
        return -(-sum(d.token_count for d in split) // shape.payload)
    if packing == "truncated":
        return sum(d.token_count > 0 for d in split)
    return sum(-(-d.token_count // shape.payload) for d in split)


def _count(counted: Rows, seen: Rows, splits: "Sequence[Sequence[_Document]]") -> None:
    """Adds the tokens of some rows to their documents: those that count and those that the model sees."""
    train_count = len(splits[0])
    for rows, name in ((counted, "counted"), (seen, "seen")):
        for index, count in zip(*np.unique(rows.documents[rows.documents >= 0], return_counts=True), strict=True):
            split, at = (0, int(index)) if index < train_count else (1, int(index) - train_count)
            document = splits[split][at]
            setattr(document, name, getattr(document, name) + int(count))


def _policy(spec: TokensSpec, how: How, splits: "Sequence[Sequence[_Document]]") -> dict[str, Any]:
    everything = [document for split in splits for document in split]
    cut = [d.token_count - d.seen for d in everything if d.token_count > d.seen]
    return {
        "version": POLICY_VERSION,
        "bos": spec.bos,
        "bos_token_id": how.bos_id,
        "packing": spec.packing,
        "chat_template": None if how.template is None else how.template.sha256,
        "truncated_document_count": len(cut),
        "truncated_token_count": sum(cut),
        "counts_special_tokens": spec.count_special_tokens,
        "masked_token_count": sum(d.seen - d.counted for d in everything),
    }


def _counts(splits: "Sequence[Sequence[_Document]]", row_counts: Sequence[int]) -> dict[str, Any]:
    everything = [document for split in splits for document in split]
    return {
        "row_count": sum(row_counts),
        "train_row_count": row_counts[0],
        "test_row_count": row_counts[1],
        "document_count": len(everything),
        "train_document_count": len(splits[0]),
        "test_document_count": len(splits[1]),
        "token_count": sum(d.counted for d in everything),
        "char_count": sum(d.char_count for d in everything),
        "byte_count": sum(d.byte_count for d in everything),
    }


@dataclass(slots=True)
class _Document:
    """A document, or one cut of a long one, and where its tokens are: part, first and end token."""

    number: int
    cut: int
    char_count: int = 0
    byte_count: int = 0
    token_count: int = 0
    seen: int = 0
    """Tokens in rows: fewer than `token_count` when it is truncated."""
    counted: int = 0
    """Of those, the ones that count as activations."""
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


def _packed(
    spec: TokensSpec, corpus: Corpus, library: _Library, splits: Sequence[Sequence[_Document]], shape: RowShape
) -> Iterator[Rows]:
    index = 0
    for split in splits:
        pieces = ((index + i, tokens) for i, document in enumerate(split) for tokens in library.tokens(document))
        if spec.packing != "packed":
            pieces = padded_documents(pieces, shape, truncated=spec.packing == "truncated")
        try:
            for number, rows in enumerate(pack_rows(pieces, shape)):
                yield scrambled(rows, derived_seed("scrambled", spec.seed, index, number)) if spec.scrambled else rows
        except SecondBos as error:
            name = _name(corpus, split[error.document - index])
            raise second_bos(name, "has a BOS token where a row starts, and each row has its own") from error
        index += len(split)


def _rows_part(context: Context, first_row: int, rows_per_shard: int, rows: Rows) -> Iterator[Part]:
    name = f"rows-{first_row // rows_per_shard:05d}.safetensors"
    path = context.scratch / name
    write_token_shard(path, rows.tokens, rows.documents)
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
                    "token_count": document.counted,
                }
                for i, (split, document) in enumerate(listed[at : at + _TABLE_ROWS])
            ]
            writer.write_table(pa.Table.from_pylist(records, schema=schema))


def _name(corpus: Corpus, document: _Document) -> str:
    name = corpus.name(document.number)
    return f"{name}[{document.cut}]" if document.cut else name
