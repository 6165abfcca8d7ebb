"""The public keys of an issuer of tokens: from a file or one https address, kept for a while."""

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWKSetError

from dragoman.errors import InvalidSpec, Unavailable
from dragoman.loopback import is_loopback

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 5.0
_MAX_BYTES = 1 << 20
_PAUSE_S = 30.0
"""Between two readings that an unknown key asks for: a made-up key id must not make us ask all day."""
_KEPT_S = 86_400.0
"""For how long keys count while newer ones cannot be had."""


class Jwks:
    """Keys by id. Safe to share between threads; `key` may block while keys are fetched.

    Args:
        where: An https address (http only on loopback), or a file. Redirects are not followed.
        max_age: Seconds after which keys are read anew.
        clock: Seconds that only grow.
    """

    def __init__(self, where: str, max_age: float, clock: Callable[[], float] = time.monotonic) -> None:
        if where.startswith("http://") and not is_loopback(httpx.URL(where).host):
            raise InvalidSpec(f"{where} is not https: whoever is on the way could give out keys", field="oidc.jwks")
        self._where, self._max_age, self._clock = where, max_age, clock
        self._lock = threading.Lock()
        self._keys: dict[str | None, PyJWK] = {}
        self._read_at = self._tried_at = float("-inf")

    def key(self, key_id: str | None) -> PyJWK | None:
        """Returns the key of an id; without an id the only key. None when there is none.

        Raises Unavailable when keys cannot be read and none of the last day are known.
        """
        with self._lock:
            now = self._clock()
            unknown = self._find(key_id) is None and now - self._tried_at >= _PAUSE_S
            if unknown or (now - self._read_at >= self._max_age and now - self._tried_at >= _PAUSE_S):
                self._refresh(now)
            return self._find(key_id)

    def _find(self, key_id: str | None) -> PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _refresh(self, now: float) -> None:
        self._tried_at = now
        try:
            self._keys = _keys_of(self._bytes())
            self._read_at = now
        except (OSError, httpx.HTTPError, ValueError, PyJWKSetError) as error:
            if now - self._read_at > _KEPT_S:
                self._keys = {}
                raise Unavailable(f"the keys of the issuer at {self._where} cannot be read: {error}") from error
            _LOG.warning("keys of the issuer at %s cannot be read anew: %s", self._where, error)

    def _bytes(self) -> bytes:
        if not self._where.startswith(("http://", "https://")):
            return Path(self._where).read_bytes()
        proxied = not is_loopback(httpx.URL(self._where).host)
        with httpx.stream(
            "GET", self._where, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=proxied
        ) as response:
            if not response.is_success:
                raise ValueError(f"it answered HTTP {response.status_code}")
            data = b""
            for block in response.iter_bytes():
                data += block
                if len(data) > _MAX_BYTES:
                    raise ValueError(f"it answered more than {_MAX_BYTES} bytes")
            return data


def _keys_of(data: bytes) -> dict[str | None, PyJWK]:
    document: Any = json.loads(data)
    keys = PyJWKSet.from_dict(document).keys
    return {key.key_id: key for key in keys if key.public_key_use in ("sig", None)}
