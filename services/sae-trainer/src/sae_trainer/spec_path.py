"""Where in a spec an error lies, seen from the spec around it."""

from collections.abc import Generator
from contextlib import contextmanager

from dragoman.errors import InvalidSpec, Violation


def below(path: str, error: InvalidSpec) -> list[Violation]:
    """Returns what an error of a part of a spec says, with the path of that part before its fields."""
    return [Violation(f"{path}.{v.field}" if v.field else path, v.description) for v in error.violations]


@contextmanager
def fields_below(path: str) -> Generator[None]:
    """Puts a path before the fields of an InvalidSpec that is raised inside."""
    try:
        yield
    except InvalidSpec as error:
        raise InvalidSpec(below(path, error), reason=error.reason) from error
