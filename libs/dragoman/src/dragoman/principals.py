"""Who may call, and what: principals with a role, a hashed token and limits."""

import hashlib
import hmac
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dragoman.errors import InvalidSpec, NotFound


class Role(IntEnum):
    """What a principal may do; each includes those before it."""

    READ = 1
    """Jobs, artifacts, servers."""
    SUBMIT = 2
    """Also submit, cancel and retry jobs."""
    ADMIN = 3
    """Also collect garbage, delete artifacts, rebuild jobs."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who calls."""

    name: str
    role: Role
    max_open_jobs: int | None = None
    """Jobs that wait, are queued or run at one time; None means no limit."""


ANYONE = Principal("", Role.ADMIN)
"""Who calls a server that asks nobody for a token."""

CALLER: ContextVar[Principal] = ContextVar("CALLER", default=ANYONE)
"""The principal of the call that is being answered."""

_READING = ("Get", "List", "Watch", "Wait", "Download")


def required_role(method: str) -> Role:
    """Returns the role that a gRPC method asks for, by its full name. What is not known asks for the most."""
    service, _, name = method.lstrip("/").rpartition("/")
    if service.endswith(".MaintenanceService"):
        return Role.ADMIN
    if name.startswith(_READING):
        return Role.READ
    return Role.SUBMIT if name.startswith(("Submit", "Cancel", "Retry")) else Role.ADMIN


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$")
    token_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: Literal["read", "submit", "admin"] = "submit"
    max_open_jobs: Annotated[int, Field(ge=0)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    principals: tuple[_Entry, ...] = Field(min_length=1)


class Principals:
    """Everybody who may call, by the sha256 of their token."""

    def __init__(self, known: Sequence[tuple[str, Principal]]) -> None:
        self._known = tuple((hashed.encode(), principal) for hashed, principal in known)

    @classmethod
    def of_token(cls, token: str) -> "Principals":
        """One principal, who may do everything, with one token."""
        return cls([(hash_of(token), ANYONE)])

    @classmethod
    def from_file(cls, path: Path) -> "Principals":
        """Reads a YAML file: `principals:`, a list of name, token_sha256, role, max_open_jobs.

        Raises NotFound without the file, InvalidSpec for what it says wrong; tokens are in neither.
        """
        try:
            document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFound(f"cannot read {path}: {error.strerror}", reason="NO_SUCH_FILE") from error
        except yaml.YAMLError as error:
            raise InvalidSpec(f"{path} is not YAML: {error}") from error
        try:
            entries = _File.model_validate(document).principals
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(str(piece) for piece in first["loc"])
            raise InvalidSpec(f"{path}: {place}: {first['msg']}") from error
        _check_distinct(path, entries)
        roles = {role.name.lower(): role for role in Role}
        return cls([(e.token_sha256, Principal(e.name, roles[e.role], e.max_open_jobs)) for e in entries])

    def identify(self, authorization: str) -> Principal | None:
        """Returns whose `Bearer <token>` it is, or None. Takes the same time whoever it is."""
        kind, _, token = authorization.partition(" ")
        given = hash_of(token).encode()
        found: Principal | None = None
        for hashed, principal in self._known:
            if hmac.compare_digest(hashed, given) and kind.lower() == "bearer":
                found = principal
        return found


def hash_of(token: str) -> str:
    """Returns what is stored of a token: its sha256 in hex. Tokens are random, so it needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def _check_distinct(path: Path, entries: Sequence[_Entry]) -> None:
    for field in ("name", "token_sha256"):
        values = [getattr(entry, field) for entry in entries]
        twice = next((entry.name for entry in entries if values.count(getattr(entry, field)) > 1), None)
        if twice is not None:
            raise InvalidSpec(f"{path}: the {field} of {twice} is there twice; each principal needs its own")
