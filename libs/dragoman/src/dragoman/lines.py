"""YAML (and so JSON) with line numbers, and without YAML 1.1's surprises.

Numbers, booleans and nulls are those of YAML 1.2: `2e-4` is a number, `no` and `12:30` are text. A key that is given
twice is an error. Nothing but mappings, lists and scalars can be made.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

from dragoman.errors import InvalidSpec
from dragoman.ids import Json

_MAX_VALUES = 100_000
"""More than any file written by hand; an alias that repeats itself reaches it soon."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - yaml's own name and shape


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,400}", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _firsts = [*_first.replace("\0", ""), *([""] if "\0" in _first else [])]
    cast(Any, _Loader).add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _firsts)


@dataclass(frozen=True, slots=True)
class Lines:
    """Where the values of a document stand: dotted path to line, counted from 1."""

    source: str
    of: Mapping[str, int]

    def at(self, path: str, description: str) -> str:
        """Returns a description with the line that a path, or the nearest part of it, stands in."""
        while path and path not in self.of:
            path = re.sub(r"(\.|^)[^.\[]*$|\[\d+\]$", "", path)
        line = self.of.get(path)
        return f"{description} ({self.source}, line {line})" if line else description


def parse_document(text: str, source: str) -> tuple[dict[str, Json], Lines]:
    """Returns a document, which must be a mapping, and where its values stand. Raises InvalidSpec."""
    try:
        node = _compose(text)
    except yaml.YAMLError as error:
        raise InvalidSpec(_syntax(error, source), reason="INVALID_YAML") from error
    except RecursionError as error:
        raise InvalidSpec(f"{source} is nested too deeply", reason="INVALID_YAML") from error
    walk = _Walk(source)
    value = walk.value(node, "") if node is not None else None
    if not isinstance(value, dict):
        raise InvalidSpec(f"{source} must hold a mapping with `jobs:`, not {value!r:.60}", reason="INVALID_YAML")
    return value, Lines(source, walk.lines)


def parse_scalar(text: str) -> Json:
    """Returns a value of the command line: `3` is a number, `[1, 2]` a list, anything else text."""
    try:
        node = _compose(text)
    except yaml.YAMLError:
        return text
    if node is None or (isinstance(node, yaml.MappingNode) and not text.lstrip().startswith("{")):
        return text
    return _Walk("--set").value(node, "")


def _compose(text: str) -> Any:
    loader: Any = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _syntax(error: yaml.YAMLError, source: str) -> str:
    mark: Any = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or str(error)
    return f"{source}{where}: not valid YAML: {problem}"


class _Walk:
    """Turns nodes into plain values and remembers their lines."""

    def __init__(self, source: str) -> None:
        self.lines: dict[str, int] = {}
        self._source = source
        self._open: set[int] = set()
        self._constructor: Any = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, path: str) -> Json:
        """Returns a node's value."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._open or len(self.lines) > _MAX_VALUES:
            raise self._error(node, "the document repeats itself through aliases")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, f"{path}[{i}]") for i, item in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: str) -> Json:
        result: dict[str, Json] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a name must be plain text")
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            if name in result:
                raise self._error(key, f"{name!r} is given twice; the first is in line {self.lines[inner]}")
            self.lines[inner] = key.start_mark.line + 1
            result[name] = self.value(item, inner)
        return result

    def _scalar(self, node: yaml.Node) -> Json:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in {"null", "bool", "int", "float", "str"}:
            raise self._error(node, f"values of the type {node.tag} are not allowed here")
        if kind == "int":
            return int(str(node.value))
        return cast("Json", self._constructor.construct_object(node))

    def _error(self, node: yaml.Node, problem: str) -> InvalidSpec:
        return InvalidSpec(f"{self._source}, line {node.start_mark.line + 1}: {problem}", reason="INVALID_YAML")
