"""Cuts long text into pieces that tokenise as the whole does."""

from collections.abc import Iterable, Iterator

PIECE_CHARS = 1 << 18


def text_pieces(chunks: Iterable[str], piece_chars: int = PIECE_CHARS) -> Iterator[str]:
    """Joins and cuts text into pieces of about `piece_chars` characters, each cut before white space.

    Tokenizers split text into words before anything else, and a run of white space begins a word: so no token of the
    whole crosses such a cut, except in languages without spaces, where the cut falls at the limit.
    """
    held = ""
    for chunk in chunks:
        held += chunk
        while len(held) >= 2 * piece_chars:
            at = _cut(held, piece_chars)
            yield held[:at]
            held = held[at:]
    if held:
        yield held


def _cut(text: str, limit: int) -> int:
    """Returns the last place up to `limit` where white space follows something else; `limit` where there is none."""
    for at in range(limit, max(limit - 4096, 0), -1):
        if text[at].isspace() and not text[at - 1].isspace():
            return at
    return limit
