"""Text of tokens, one string a token, for byte-level BPE, SentencePiece and WordPiece tokenizers."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Bool
from tokenizers import Tokenizer

OPEN = "<<"
CLOSE = ">>"


def pieces(tokenizer: Tokenizer, tokens: Sequence[int] | np.ndarray) -> list[str]:
    """Returns the text that each token adds, so that joined they are the text of all, leading space included.

    A character whose bytes are spread over tokens belongs to the token that completes it; the others get "". Bytes that
    make no character become U+FFFD. Special tokens are shown.
    """
    # Many decoders strip the first space of a text: an ordinary first token takes that stroke instead of ours.
    anchor: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    ids = [int(t) for t in tokens]
    prefixes = [anchor + ids[:n] for n in range(len(ids) + 1)]
    texts: list[str] = tokenizer.decode_batch(prefixes, skip_special_tokens=False)
    full = texts[-1]
    ends = [_shared(text, full) for text in texts]
    for i in range(1, len(ends)):
        ends[i] = max(ends[i], ends[i - 1])
    return [full[ends[i] : ends[i + 1]] for i in range(len(ids))]


def _shared(text: str, full: str) -> int:
    """Length of the common beginning; the end of `text` may still be half a character."""
    if full.startswith(text):
        return len(text)
    return next(i for i, (a, b) in enumerate(zip(text, full + "\0", strict=False)) if a != b)


def marked(texts: Sequence[str], mask: Sequence[bool] | Bool[np.ndarray, " n"]) -> str:
    """Returns the text of a window with << >> around each run of marked tokens.

    `texts` are the `pieces` of the window's tokens. A token without text of its own is marked with its character.
    """
    groups = groupby(_characters(texts, mask), key=lambda group: group[1])
    runs = [("".join(text for text, _ in run), is_marked) for is_marked, run in groups]
    return "".join(f"{OPEN}{text}{CLOSE}" if is_marked and text else text for text, is_marked in runs)


def _characters(texts: Sequence[str], mask: Sequence[bool] | Bool[np.ndarray, " n"]) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    waiting = False
    for text, is_marked in zip(texts, mask, strict=True):
        waiting = waiting or bool(is_marked)
        if text:
            found.append((text, waiting))
            waiting = False
    if waiting and found:
        found[-1] = (found[-1][0], True)
    return found
