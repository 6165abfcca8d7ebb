"""HTML and SVG by functions: every string is escaped unless a function here made it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

VOID = frozenset({"meta", "input", "br", "hr"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Html | None | Iterable["Child"]
Attribute = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Tall:
    """A table cell that reaches over several rows."""

    content: Child
    rows: int


def el(tag: str, attributes: Mapping[str, Attribute] | None = None, /, *children: Child) -> Html:
    """Returns an element. Plain strings are escaped, Html is not; None is left out, lists are flattened.

    An attribute that is None or False is left out; True writes the name alone; floats are cut to two places.
    """
    head = "".join(_attribute(name, value) for name, value in (attributes or {}).items())
    if tag in VOID:
        return Html(f"<{tag}{head}>")
    return Html(f"<{tag}{head}>{join(children)}</{tag}>")


def join(children: Child) -> Html:
    """Returns children as one piece of markup."""
    if children is None:
        return Html()
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return Html(escape(children))
    return Html("".join(join(child) for child in children))


def table(head: Iterable[Child], rows: Iterable[Iterable[Child | Tall]], kind: str = "") -> Html:
    """Returns a table whose rows begin with their heading, in a box that scrolls sideways by itself.

    A cell given as `Tall(content, rows)` reaches down over the following rows.
    """
    top = el("tr", {}, [el("th", {"scope": "col"}, cell) for cell in head])
    body = [el("tr", {}, [_cell(i, cell) for i, cell in enumerate(row)]) for row in rows]
    return el(
        "div", {"class": "scroll"}, el("table", {"class": kind or None}, el("thead", {}, top), el("tbody", {}, body))
    )


def _cell(index: int, content: Child | Tall) -> Html:
    if isinstance(content, Tall):
        return el("td", {"rowspan": content.rows}, content.content)
    return el("td", {}, content) if index else el("th", {"scope": "row"}, content)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{escape(str(value))}"'
