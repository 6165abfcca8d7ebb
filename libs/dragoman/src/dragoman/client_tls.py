"""TLS towards NATS and the object store: whom to trust, and how to prove who we are."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from dragoman.errors import NotFound


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files. Without `ca` the system's authorities are trusted; certificate and key are for mutual TLS."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        for path in (self.ca, self.certificate, self.key):
            if path is not None and not path.is_file():
                raise NotFound(f"{path} is not a file; expected a PEM file", reason="NO_SUCH_FILE")

    def context(self) -> ssl.SSLContext:
        """Returns a context that checks the server's certificate and name."""
        made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca)
        if self.certificate is not None:
            made.load_cert_chain(self.certificate, self.key)
        return made
