"""The file in which an operator says who may call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dragoman.errors import InvalidSpec, NotFound
from dragoman.principals import Issuer, Limits, Principal, Principals, Role, namespace_of

NAMESPACE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
RoleName = Literal["read", "submit", "admin"]
ROLES = {role.name.lower(): role for role in Role}

_Count = Annotated[int, Field(ge=0)] | None
_ALGORITHMS = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class _Limited(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    max_open_jobs: _Count = None
    max_queued_jobs: _Count = None
    max_running_jobs: _Count = None
    max_bytes: _Count = None
    max_llm_tokens: _Count = None

    @property
    def limits(self) -> Limits:
        """The limits alone."""
        return Limits(
            self.max_open_jobs, self.max_queued_jobs, self.max_running_jobs, self.max_bytes, self.max_llm_tokens
        )


class _Entry(_Limited):
    name: str = Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$")
    token_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: RoleName = "submit"
    namespace: Annotated[str, Field(pattern=NAMESPACE)] | None = None


class OidcEntry(_Limited):
    """An OpenID Connect issuer, and what its tokens mean here. Limits hold for each of its principals."""

    issuer: str = Field(min_length=1)
    """Must be the token's `iss`, to the letter."""
    audience: str = Field(min_length=1)
    """Must be in the token's `aud`."""
    jwks: str = Field(min_length=1)
    """The issuer's public keys: an https address, or a file."""
    algorithms: tuple[_ALGORITHMS, ...] = Field(default=("RS256", "ES256"), min_length=1)
    leeway_s: float = Field(default=30, ge=0, le=300)
    """By how much clocks may differ."""
    jwks_max_age_s: float = Field(default=600, ge=1, le=86_400)
    """After how long keys are read anew."""
    name_claim: str = "sub"
    role_claim: str = "roles"
    """A claim with a name or a list of names; a dot goes one level down, as in `realm_access.roles`."""
    roles: dict[str, RoleName] = Field(min_length=1)
    """What a name in that claim allows; the highest counts."""
    namespace_claim: str | None = None
    """A claim with the principal's namespace. Without one, `namespace` holds for all."""
    namespace: Annotated[str, Field(pattern=NAMESPACE)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    principals: tuple[_Entry, ...] = ()
    oidc: OidcEntry | None = None


def read_principals(path: Path) -> Principals:
    """Reads a YAML file: `principals:`, a list of tokens' hashes, and `oidc:`, an issuer. See docs/operations.md.

    Raises NotFound without the file, InvalidSpec for what it says wrong (tokens are in neither), and
    FailedPrecondition where an issuer is named and the package for it is not installed.
    """
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", reason="NO_SUCH_FILE") from error
    except yaml.YAMLError as error:
        raise InvalidSpec(f"{path} is not YAML: {error}") from error
    try:
        said = _File.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(piece) for piece in first["loc"])
        raise InvalidSpec(f"{path}: {place}: {first['msg']}") from error
    if not said.principals and said.oidc is None:
        raise InvalidSpec(f"{path}: names nobody; expected principals:, oidc: or both")
    _check_distinct(path, said.principals)
    known = [
        (e.token_sha256, Principal(e.name, ROLES[e.role], e.limits, namespace_of(e.namespace))) for e in said.principals
    ]
    return Principals(known, _issuer(said.oidc, path.parent))


def _issuer(entry: OidcEntry | None, folder: Path) -> Issuer | None:
    if entry is None:
        return None
    from dragoman.oidc import OidcIssuer  # only servers that ask an issuer need its package

    return OidcIssuer(entry, folder)


def _check_distinct(path: Path, entries: Sequence[_Entry]) -> None:
    for field in ("name", "token_sha256"):
        values = [getattr(entry, field) for entry in entries]
        twice = next((entry.name for entry in entries if values.count(getattr(entry, field)) > 1), None)
        if twice is not None:
            raise InvalidSpec(f"{path}: the {field} of {twice} is there twice; each principal needs its own")
