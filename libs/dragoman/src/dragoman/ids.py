"""Identity: what an artifact is called is a hash of what it means."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TypeAlias

from pydantic import JsonValue

from dragoman.errors import InvalidSpec

Json: TypeAlias = JsonValue
"""Anything that JSON can say."""

_ID = re.compile(r"([a-z][a-z0-9]*)-([0-9a-f]{32})")


def canonical_json(value: object) -> bytes:
    """One byte string for one meaning: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def artifact_id(kind: str, semantics_version: int, spec: Mapping[str, object], namespace: str = "") -> str:
    """Returns ``<kind>-<32 hex>`` for a canonical spec, in which the ids of the inputs are fields.

    A namespace is part of the id: whether somebody else has made the same thing cannot be learnt by making it.
    """
    meaning: dict[str, object] = {"kind": kind, "semantics_version": semantics_version, "spec": dict(spec)}
    body = canonical_json(meaning | ({"namespace": namespace} if namespace else {}))
    return f"{kind}-{hashlib.sha256(body).hexdigest()[:32]}"


def kind_of(id_: str, *, field: str = "") -> str:
    """Returns the kind in an id. Raises InvalidSpec when the id is not one of ours."""
    match = _ID.fullmatch(id_)  # not `match` with `$`, which lets a line feed pass: ids go into NATS subjects
    if match is None:
        raise InvalidSpec(
            f"{id_!r} is not an artifact id; expected <kind>-<32 hex digits>, as printed by `dragoman jobs`",
            field=field,
            reason="MALFORMED_ID",
        )
    return match.group(1)


def derived_seed(*parts: object) -> int:
    """Returns a 63-bit seed from ids, so that no result depends on the order of arrival."""
    digest = hashlib.sha256(canonical_json([str(p) for p in parts])).digest()
    return int.from_bytes(digest[:8], "big") >> 1
