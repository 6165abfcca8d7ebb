"""The tokenising tasks of the `tokens` kind."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dragoman.errors import UserTaskError
from dragoman.kinds import Context, Part, Progress
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from activation.core.cutting import text_pieces
from activation.core.splitting import draw_documents
from activation.corpus import Corpus
from activation.spec import TokensSpec

_BATCH_CHARS = 1 << 20
_TOKENS_PER_PART = 1 << 22

# Columns of the table of segments of an intermediate part: a segment is a run of tokens of one document.
_DOCUMENT, _CUT, _TOKENS, _CHARS, _BYTES = range(5)


@dataclass(frozen=True, slots=True)
class SecondBosCheck:
    """Finds documents whose own BOS would stand directly behind another."""

    bos_id: int | None
    """What BOS is, also where rows have none; None when the tokenizer has none."""
    rows_start_with_bos: bool

    def check(self, tokens: "np.ndarray[Any, Any]", document: str) -> None:
        """Looks at the first tokens of a document. Raises UserTaskError that names it."""
        first = tokens[:2].tolist()
        if self.bos_id is None or first[:1] != [self.bos_id]:
            return
        if self.rows_start_with_bos:
            raise second_bos(document, "starts with a BOS token, and so does each row")
        if first[1:] == [self.bos_id]:
            raise second_bos(document, "starts with two BOS tokens")


def second_bos(document: str, what: str) -> UserTaskError:
    """Returns the error for two BOS tokens in a row."""
    return UserTaskError(
        f"{document} {what}: a model is trained with one; set bos to 'never', "
        "or take the BOS out of the text or the chat template",
        reason="SECOND_BOS",
    )


def tokenise(
    spec: TokensSpec, context: Context, corpus: Corpus, tokenizer_file: Path, bos: SecondBosCheck
) -> Iterator[Progress | Part]:
    """Stage 0: tokenises the drawn documents of one group, batch by batch, to intermediate parts."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    conversations = bool(spec.messages_field)
    tokenizer = text_tokenizer(tokenizer_file, special_tokens=conversations)
    drawn = _drawn(spec, corpus.document_count)[first:end]
    held = _Segments()
    number = seen = 0
    for batch in _batches(_pieces(corpus, first, end, drawn, whole=conversations)):
        for row, tokens in _encode(tokenizer, batch, spec.max_document_tokens, held.open_cut):
            if held.starts_document(row):
                bos.check(tokens, corpus.name(row[_DOCUMENT]))
            held.add(row, tokens)
        seen = batch[-1][0] + 1 - first
        yield Progress(seen, end - first, "documents", f"{held.total:,} tokens")
        if held.count >= _TOKENS_PER_PART:
            yield from _segments_part(context, number, held)
            held, number = held.rest(), number + 1
    if held.count or not number:
        yield from _segments_part(context, number, held)
    yield Progress(end - first, end - first, "documents", f"{held.total:,} tokens")


def text_tokenizer(path: Path, *, special_tokens: bool = False) -> Tokenizer:
    """Returns a tokenizer that takes text for text: "<|endoftext|>" in a document is not the special token.

    special_tokens: it is, because a chat template wrote it.
    """
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = not special_tokens
    return tokenizer


def masked_ids(spec: TokensSpec, path: Path) -> "np.ndarray[Any, Any]":
    """Returns the ids of the special tokens that do not count inside documents."""
    if spec.count_special_tokens:
        return np.empty(0, np.int32)
    added = Tokenizer.from_file(str(path)).get_added_tokens_decoder()
    return np.asarray(sorted(id_ for id_, token in added.items() if token.special), np.int32)


def _drawn(spec: TokensSpec, document_count: int) -> "np.ndarray[Any, Any]":
    draw = draw_documents(document_count, spec.max_documents, spec.test_fraction, spec.seed)
    drawn = np.zeros(document_count, np.bool_)
    drawn[draw.train] = drawn[draw.test] = True
    return drawn


def _pieces(
    corpus: Corpus, first: int, end: int, drawn: "np.ndarray[Any, Any]", *, whole: bool
) -> Iterator[tuple[int, str]]:
    for document, text in corpus.read(first, end):
        if drawn[document - first]:
            yield document, ""
            for piece in text if whole else text_pieces(text):
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

    def starts_document(self, row: Sequence[int]) -> bool:
        """True for the first segment with tokens of a document."""
        same = self.open_cut[0] == row[_DOCUMENT]
        return row[_TOKENS] > 0 and row[_CUT] == 0 and not (same and self.open_cut[1:] != (0, 0))

    def add(self, row: list[int], tokens: Any) -> None:
        """Adds a segment: row of the table, tokens."""
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
