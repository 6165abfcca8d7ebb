"""Ids may be abbreviated to any unique beginning, with or without the kind."""

import re
from collections.abc import Sequence

from dragoman.client import Client
from dragoman.errors import InvalidSpec, NotFound

_FULL = re.compile(r"[a-z][a-z0-9]*-[0-9a-f]{32}")


def resolve(client: Client, text: str) -> str:
    """Returns the full id that a text means. Raises NotFound, or InvalidSpec when several begin so."""
    return resolve_all(client, [text])[0]


def resolve_all(client: Client, texts: Sequence[str]) -> list[str]:
    """Returns the full ids; asks the servers for all jobs only when one is abbreviated."""
    if all(_FULL.fullmatch(text) for text in texts):
        return list(texts)
    known = [job.id for job in client.list(limit=0)]
    return [text if _FULL.fullmatch(text) else _one(text, known) for text in texts]


def _one(text: str, known: Sequence[str]) -> str:
    found = [id_ for id_ in known if text and (id_.startswith(text) or id_.partition("-")[2].startswith(text))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(f"no job's id begins with {text!r}; `dragoman jobs` lists the jobs", reason="UNKNOWN_ID")
    shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
    raise InvalidSpec(f"{len(found)} ids begin with {text!r}: {shown}; give more digits", reason="AMBIGUOUS_ID")
