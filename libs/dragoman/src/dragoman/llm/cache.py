"""Replies kept by request, so that a resumed job pays nothing twice."""

import hashlib
import json
from typing import Any, Protocol

from dragoman.principals import Work

_VERSION = 1  # raise it when the same body would no longer mean the same request


class ResponseCache(Protocol):
    """Replies of an engine by request key. Called from several threads."""

    def get(self, key: str) -> bytes | None:
        """The stored reply, or None."""
        ...

    def keep(self, key: str, reply: bytes) -> bytes:
        """Store a reply unless one is stored; returns the one that counts: the first.

        The same request may be in flight twice, and an engine's floats differ from time to time. Everyone uses the
        reply that a later run will find, so that a resumed job and an undisturbed one give the same bytes.
        """
        ...

    def put(self, key: str, reply: bytes) -> None:
        """Store a reply over a damaged one."""
        ...


class BytesStore(Protocol):
    """The part of an object store that the cache uses."""

    def get_bytes(self, key: str) -> bytes | None:
        """The object's bytes, or None when there is none."""
        ...

    def put_bytes(self, key: str, data: bytes) -> object:
        """Write the object."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the object unless there is one. False when there is."""
        ...


class StoreResponseCache:
    """A response cache in an object store: `llm-cache/<first two digits>/<key>.json`."""

    def __init__(self, store: BytesStore) -> None:
        self._store = store

    def get(self, key: str) -> bytes | None:
        """The stored reply, or None."""
        return self._store.get_bytes(self._object(key))

    def keep(self, key: str, reply: bytes) -> bytes:
        """Store a reply unless one is stored; returns the one that counts."""
        if self._store.put_if_absent(self._object(key), reply):
            return reply
        return self.get(key) or reply

    def put(self, key: str, reply: bytes) -> None:
        """Store a reply over a damaged one."""
        self._store.put_bytes(self._object(key), reply)

    @staticmethod
    def _object(key: str) -> str:
        return f"llm-cache/{key[:2]}/{key}.json"


def request_key(path: str, body: dict[str, Any]) -> str:
    """Hex sha256 of the request in canonical JSON: the model's name, the prompt, every parameter, the version."""
    request = {"version": _VERSION, "path": path, "body": body}
    # What another namespace asked must not show, by how fast an answer comes or by being free.
    request |= {"namespace": Work.namespace} if Work.namespace else {}
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
