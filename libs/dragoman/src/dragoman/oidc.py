"""Principals by JSON Web Tokens of one OpenID Connect issuer."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dragoman.errors import FailedPrecondition, PermissionDenied, Unauthenticated
from dragoman.principals import Principal, Role, namespace_of
from dragoman.principals_file import NAMESPACE, ROLES, OidcEntry

try:
    import jwt

    from dragoman.jwks import Jwks
except ImportError as error:
    raise FailedPrecondition(
        "tokens of an issuer need a package that is not installed: pip install 'dragoman[oidc]'",
        reason="NOT_INSTALLED",
    ) from error

_REQUIRED = ("exp", "iss", "aud")
_LONGEST_NAME = 200


class OidcIssuer:
    """Implements `dragoman.principals.Issuer`. A relative `jwks` file lies beside the principals' file."""

    def __init__(self, entry: OidcEntry, folder: Path) -> None:
        self._entry = entry
        where = entry.jwks if entry.jwks.startswith(("http://", "https://")) else str(folder / entry.jwks)
        self._keys = Jwks(where, entry.jwks_max_age_s)

    def identify(self, token: str) -> Principal:
        """See Issuer.identify."""
        try:
            claims = self._claims(token)
        except jwt.PyJWTError as error:
            raise Unauthenticated(
                f"the token is not one that this server accepts: {error}; get a new one from {self._entry.issuer}",
                reason="INVALID_TOKEN",
            ) from error
        # The prefix keeps an issuer's principals apart from those of the operator's file.
        name = f"oidc:{self._name(claims)}"
        return Principal(name, self._role(claims, name), self._entry.limits, self._namespace(claims, name))

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Returns what a token says. Only its key's id is read before its signature is checked."""
        key_id = jwt.get_unverified_header(token).get("kid")
        key = self._keys.key(key_id)
        if key is None:
            raise jwt.InvalidKeyError("its key is none of the issuer's")
        return jwt.decode(
            token,
            key,
            algorithms=list(self._entry.algorithms),
            audience=self._entry.audience,
            issuer=self._entry.issuer,
            leeway=self._entry.leeway_s,
            options={"require": list(_REQUIRED)},
        )

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = _claim(claims, self._entry.name_claim)
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
            raise Unauthenticated(
                f"the token's claim {self._entry.name_claim!r} is no name; expected 1 to {_LONGEST_NAME} characters",
                reason="INVALID_TOKEN",
            )
        return name

    def _role(self, claims: Mapping[str, Any], name: str) -> Role:
        said = _claim(claims, self._entry.role_claim)
        names = said.split() if isinstance(said, str) else said if isinstance(said, Sequence) else ()
        known = [ROLES[self._entry.roles[each]] for each in names if each in self._entry.roles]
        if not known:
            raise PermissionDenied(
                f"{name} has no role here: its token's claim {self._entry.role_claim!r} names none that this server "
                "knows; ask the operator"
            )
        return max(known)

    def _namespace(self, claims: Mapping[str, Any], name: str) -> str:
        if self._entry.namespace_claim is None:
            return namespace_of(self._entry.namespace)
        said = _claim(claims, self._entry.namespace_claim)
        if not isinstance(said, str) or not re.fullmatch(NAMESPACE, said):
            raise PermissionDenied(
                f"{name} has no namespace here: its token's claim {self._entry.namespace_claim!r} is none; expected "
                "up to 63 of a-z, 0-9 and -"
            )
        return namespace_of(said)


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """Returns a claim by its name, or by a path with dots; None when it is not there."""
    if name in claims:
        return claims[name]
    at: object = claims
    for step in name.split("."):
        at = cast("Mapping[str, object]", at).get(step) if isinstance(at, Mapping) else None
    return at
