"""Tokens of an issuer: whose they are, what they allow, and which are refused."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dragoman.errors import InvalidSpec, PermissionDenied, Unauthenticated, Unavailable
from dragoman.jwks import Jwks
from dragoman.principals import PUBLIC, Limits, Principal, Principals, Role, hash_of
from dragoman.principals_file import read_principals

from tests.support.scripted_http import Reply, scripted

ISSUER = "https://login.example.org/"
ONE, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
FILE = f"""
principals:
  - {{name: ops, token_sha256: {hash_of("a.b.c")}, role: admin, namespace: public}}
oidc:
  issuer: {ISSUER}
  audience: dragoman
  jwks: keys.json
  leeway_s: 20
  role_claim: realm_access.roles
  roles: {{researchers: submit, guests: read}}
  namespace_claim: team
  max_open_jobs: 7
"""


def _jwks(**keys: ec.EllipticCurvePrivateKey) -> bytes:
    listed = []
    for name, key in keys.items():
        listed.append({**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"})
    return json.dumps({"keys": listed}).encode()


def _token(key: ec.EllipticCurvePrivateKey = ONE, header: dict[str, Any] | None = None, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": ["dragoman", "other"], "sub": "ana", "exp": now + 60, "team": "vision"}
    claims |= {"realm_access": {"roles": ["guests", "researchers", "else"]}, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, "ES256", {"kid": "one", **(header or {})})


@pytest.fixture
def principals(tmp_path: Path) -> Principals:
    """One issuer and one hashed token."""
    (tmp_path / "keys.json").write_bytes(_jwks(one=ONE))
    (tmp_path / "principals.yaml").write_text(FILE)
    return read_principals(tmp_path / "principals.yaml")


def test_claims_become_a_principal_with_role_namespace_and_limits(principals: Principals) -> None:
    ana = principals.identify(f"Bearer {_token()}")
    assert ana == Principal("oidc:ana", Role.SUBMIT, Limits(max_open_jobs=7), "vision")
    guest = principals.identify(f"Bearer {_token(realm_access={'roles': ['guests']}, team='public')}")
    assert guest is not None
    assert (guest.role, guest.namespace) == (Role.READ, PUBLIC)
    ops = principals.identify("Bearer a.b.c")
    assert ops is not None
    assert ops.name == "ops", "a hashed token may look like one of an issuer"


def test_clocks_may_differ_by_the_leeway(principals: Principals) -> None:
    assert principals.identify(f"Bearer {_token(exp=int(time.time()) - 10)}") is not None
    with pytest.raises(Unauthenticated, match="expired"):
        principals.identify(f"Bearer {_token(exp=int(time.time()) - 40)}")
    with pytest.raises(Unauthenticated, match="not yet valid"):
        principals.identify(f"Bearer {_token(nbf=int(time.time()) + 40)}")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: _token(OTHER), "Signature verification failed"),
        (lambda: _token(OTHER, {"kid": "two"}), "its key is none of the issuer's"),
        (lambda: _token(iss="https://login.example.com/"), "Invalid issuer"),
        (lambda: _token(aud="other"), "Audience doesn't match"),
        (lambda: _token(exp=None), 'missing the "exp" claim'),
        (lambda: _token(aud=None), 'missing the "aud" claim'),
        (lambda: _token(sub=None), "'sub' is no name"),
        (lambda: _token(sub="a\nb"), "'sub' is no name"),
        (lambda: jwt.encode({"iss": ISSUER}, "x" * 32, "HS256", {"kid": "one"}), "alg"),
        (lambda: jwt.encode({"iss": ISSUER}, None, "none", {"kid": "one"}), "alg"),  # type: ignore[arg-type]
        (lambda: "not.a.token", "not one that this server accepts"),
    ],
)
def test_tokens_that_prove_nothing_are_refused(principals: Principals, make: Callable[[], str], expected: str) -> None:
    token = make()
    with pytest.raises(Unauthenticated, match=expected) as caught:
        principals.identify(f"Bearer {token}")
    assert token not in caught.value.message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"realm_access": {"roles": ["kings"]}}, "oidc:ana has no role here"),
        ({"realm_access": None}, "oidc:ana has no role here"),
        ({"team": None}, "oidc:ana has no namespace here"),
        ({"team": "../vision"}, "oidc:ana has no namespace here"),
        ({"team": ["vision"]}, "oidc:ana has no namespace here"),
    ],
)
def test_who_has_no_role_or_namespace_may_do_nothing(
    principals: Principals, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(PermissionDenied, match=expected):
        principals.identify(f"Bearer {_token(**changes)}")


def test_keys_are_fetched_from_the_operators_address_alone_and_kept() -> None:
    clock, answers = [0.0], [_jwks(one=ONE)]
    with scripted(lambda *_: Reply(body=answers[0])) as issuer, scripted(lambda *_: Reply(body=_jwks(x=OTHER))) as evil:
        jwks = Jwks(f"{issuer.url}/keys", 600, lambda: clock[0])
        assert jwks.key("one") is not None
        for _ in range(20):
            assert jwks.key("made-up") is None
        assert len(issuer.seen) == 1, "made-up keys do not make us ask again at once"
        answers[0] = _jwks(two=OTHER)
        clock[0] = 40.0
        assert jwks.key("two") is not None, "an issuer's new key is fetched when it is met"
        assert jwks.key("one") is None, "a key that was taken back no longer counts"
        token = _token(header={"jku": f"{evil.url}/keys", "x5u": f"{evil.url}/keys", "kid": "x"})
        assert jwks.key(jwt.get_unverified_header(token)["kid"]) is None
        issuer.script = lambda *_: Reply(302, headers={"Location": f"{evil.url}/keys"})
        clock[0] = 700.0
        assert jwks.key("two") is not None, "the issuer's outage is not ours"
        clock[0] = 100_000.0
        with pytest.raises(Unavailable, match="it answered HTTP 302"):
            jwks.key("two")
        assert evil.seen == []
    with pytest.raises(InvalidSpec, match="is not https"):
        Jwks("http://127.0.0.1.example.org/keys", 600)
    with scripted(lambda *_: Reply(body=b" " * (2 << 20))) as issuer, pytest.raises(Unavailable, match="more than"):
        Jwks(issuer.url, 600).key("one")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("leeway_s: 20", "algorithms: [HS256]", "oidc.algorithms.0: Input should be 'RS256'"),
        ("leeway_s: 20", "leeway_s: 86400", "oidc.leeway_s: Input should be less than or equal to 300"),
        ("guests: read", "guests: king", "oidc.roles.guests: Input should be 'read'"),
        ("namespace: public", "namespace: a/b", "principals.0.namespace: String should match"),
        ("audience: dragoman", "", "oidc.audience: Field required"),
    ],
)
def test_a_wrong_entry_is_refused_at_start(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "principals.yaml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(InvalidSpec) as caught:
        read_principals(path)
    assert expected in caught.value.message
