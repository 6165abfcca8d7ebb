"""Passwords of the laptop stack: made once, kept in its home, readable by its owner only."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dragoman.errors import FailedPrecondition

_FILE = "credentials.json"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the servers of one home ask for."""

    nats_user: str = "dragoman"
    nats_password: str = field(default_factory=secrets.token_hex, repr=False)
    s3_access_key: str = "dragoman"
    s3_secret_key: str = field(default_factory=secrets.token_hex, repr=False)
    llm_api_key: str = field(default_factory=secrets.token_hex, repr=False)


def credentials_of(home: Path) -> Credentials:
    """Returns the credentials of a home, made the first time. Raises FailedPrecondition for a damaged file."""
    path = home / _FILE
    if not path.exists():
        write_private(path, json.dumps(asdict(Credentials()), indent=1))
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise FailedPrecondition(
            f"{path} cannot be read ({error}). It holds generated passwords only: remove it to have new ones made"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
