"""Who may call, and what: principals with a role, a namespace and limits."""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

PUBLIC = ""
"""The namespace that everybody may read: what an operator submits there is shared."""


class Role(IntEnum):
    """What a principal may do; each includes those before it."""

    READ = 1
    """Jobs, artifacts, servers."""
    SUBMIT = 2
    """Also submit, cancel and retry jobs."""
    ADMIN = 3
    """Also collect garbage, delete artifacts, rebuild jobs; in every namespace."""


def namespace_of(said: str | None) -> str:
    """Returns the namespace that an operator or an issuer names: "public", or nothing, is the shared one."""
    return PUBLIC if said is None or said == "public" else said


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a principal may have at one time; None means no limit. See `dragoman.quotas`."""

    max_open_jobs: int | None = None
    """Jobs that wait, are queued or run."""
    max_queued_jobs: int | None = None
    """Jobs that wait or are queued."""
    max_running_jobs: int | None = None
    max_bytes: int | None = None
    """Of committed artifacts."""
    max_llm_tokens: int | None = None
    """Of prompts and replies, in 24 hours."""

    @property
    def any(self) -> bool:
        """True when there is a limit at all."""
        return self != Limits()


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who calls."""

    name: str
    role: Role
    limits: Limits = Limits()
    namespace: str = PUBLIC
    """Where what it submits belongs."""

    def sees(self, namespace: str) -> bool:
        """True when jobs and artifacts of a namespace exist for this principal."""
        return self.role is Role.ADMIN or namespace in (PUBLIC, self.namespace)

    def owns(self, namespace: str) -> bool:
        """True when the principal may change jobs of a namespace, as far as its role goes."""
        return self.role is Role.ADMIN or namespace == self.namespace


ANYONE = Principal("", Role.ADMIN)
"""Who calls a server that asks nobody for a token."""

CALLER: ContextVar[Principal] = ContextVar("CALLER", default=ANYONE)
"""The principal of the call that is being answered."""


class Work:
    """What this process works on: a worker's child does one task at a time, in whatever threads."""

    namespace: str = PUBLIC


_READING = ("Get", "List", "Watch", "Wait", "Download")


def required_role(method: str) -> Role:
    """Returns the role that a gRPC method asks for, by its full name. What is not known asks for the most."""
    service, _, name = method.lstrip("/").rpartition("/")
    if service.endswith(".MaintenanceService"):
        return Role.ADMIN
    if name.startswith(_READING):
        return Role.READ
    return Role.SUBMIT if name.startswith(("Submit", "Cancel", "Retry")) else Role.ADMIN


class Issuer(Protocol):
    """Somebody else who says who calls, by tokens that it signs. Implemented by `dragoman.oidc`."""

    def identify(self, token: str) -> Principal:
        """Returns whose token it is; may ask the issuer for its keys. Raises Unauthenticated or PermissionDenied."""
        ...


class Principals:
    """Everybody who may call: by the sha256 of their token, or by the word of an issuer."""

    def __init__(self, known: Sequence[tuple[str, Principal]], issuer: Issuer | None = None) -> None:
        self._known = tuple((hashed.encode(), principal) for hashed, principal in known)
        self._issuer = issuer

    @classmethod
    def of_token(cls, token: str) -> "Principals":
        """One principal, who may do everything, with one token."""
        return cls([(hash_of(token), ANYONE)])

    def identify(self, authorization: str) -> Principal | None:
        """Returns whose `Bearer <token>` it is, or None. Takes the same time whoever's hashed token it is.

        Raises Unauthenticated or PermissionDenied for an issuer's token that says too little. Blocks while the
        issuer's keys are fetched.
        """
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer":
            return None
        given = hash_of(token).encode()
        found: Principal | None = None
        for hashed, principal in self._known:
            if hmac.compare_digest(hashed, given):
                found = principal
        if found is None and self._issuer is not None and token.count(".") == 2:
            return self._issuer.identify(token)
        return found

    async def identified(self, authorization: str) -> Principal | None:
        """The same without blocking: in a thread where an issuer may have to be asked."""
        if self._issuer is None:
            return self.identify(authorization)
        return await asyncio.to_thread(self.identify, authorization)


def hash_of(token: str) -> str:
    """Returns what is stored of a token: its sha256 in hex. Tokens are random, so it needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()
