"""Text with a latent's activations behind it."""

from collections.abc import Iterator

from scorer.core.report_content import TextWindow
from scorer.core.report_markup import Html, el

LEVELS = 9
"""Shades of activation, 1 the weakest."""
_LONGEST_TOKEN = 80


def shaded(window: TextWindow, strongest: float) -> Html:
    """Returns the window with each active token shaded by its share of the latent's strongest activation.

    Spaces are kept; a line break is drawn as an arrow, so that a window stays as tall as its text is long.
    """
    return el("p", {"class": "window"}, list(_spans(window, strongest)))


def level(activation: float, strongest: float) -> int:
    """Returns the shade: 0 for none, else 1 to LEVELS."""
    if activation <= 0.0 or strongest <= 0.0:
        return 0
    return max(1, min(LEVELS, round(LEVELS * activation / strongest)))


def _spans(window: TextWindow, strongest: float) -> Iterator[str]:
    plain = ""
    for index, token in enumerate(window.tokens):
        activation = float(window.activations[index])
        marked = index < len(window.marked) and window.marked[index]
        shade = level(activation, strongest)
        if not shade and not marked:
            plain += _visible(token)
            continue
        if plain:
            yield plain
            plain = ""
        names = [f"a{shade}" if shade else "", "marked" if marked else ""]
        yield el("span", {"class": " ".join(filter(None, names)), "title": f"{activation:.3g}"}, _visible(token))
    if plain:
        yield plain


def _visible(token: str) -> str:
    cut = token if len(token) <= _LONGEST_TOKEN else token[: _LONGEST_TOKEN - 1] + "…"
    shown = cut.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵")
    # Control characters and bidirectional overrides would hide or turn round what follows them.
    return "".join(c if c.isprintable() or c in " \t" else "\N{REPLACEMENT CHARACTER}" for c in shown)
