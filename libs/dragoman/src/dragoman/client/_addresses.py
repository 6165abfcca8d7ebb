"""Where the services are: arguments, then the environment, then the laptop stack's connection file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc

from dragoman.errors import InvalidSpec, NotFound, Unavailable
from dragoman.nearest import suggestion
from dragoman.rpc.methods import SERVICES

STACK_FILE = "stack.json"


def variable(service: str) -> str:
    """Returns the environment variable of a service's address: DRAGOMAN_SAE_TRAINER_ADDRESS."""
    return f"DRAGOMAN_{service.upper().replace('-', '_')}_ADDRESS"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Address of each service that can be reached, as host:port."""

    of: Mapping[str, str]
    token: str = field(default="", repr=False)
    """Sent with every call when not empty."""
    tls_ca: Path | None = None
    """PEM file of the authority that signed the servers' certificates; None speaks plaintext."""
    tls_certificate: Path | None = None
    """PEM file of our own certificate, for servers that ask for one; with `tls_key`."""
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        for service, address in self.of.items():
            if service not in SERVICES:
                raise InvalidSpec(f"{service!r} is not a service; {suggestion(service, SERVICES)}", field="addresses")
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit():
                raise InvalidSpec(f"{address!r} is not an address; expected host:port", field=f"addresses.{service}")

    def one(self, service: str) -> str:
        """Returns the address of a service. Raises NotFound when it is not known."""
        if service not in self.of:
            raise NotFound(
                f"no address is known for the service {service!r}; start all four with `dragoman up`, or set "
                f"{variable(service)} to host:port",
                reason="UNKNOWN_SERVICE",
            )
        return self.of[service]

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Returns what a TLS channel needs; None for plaintext. Raises NotFound when a file cannot be read."""
        if self.tls_ca is None:
            return None
        own = (
            (_pem(self.tls_key), _pem(self.tls_certificate)) if self.tls_certificate and self.tls_key else (None, None)
        )
        return grpc.ssl_channel_credentials(_pem(self.tls_ca), *own)

    @classmethod
    def find(cls, environ: Mapping[str, str], home: Path | None = None) -> "Addresses":
        """Returns the addresses of the environment, or else those of the stack that runs in `home`.

        Raises:
            Unavailable: Neither names any; the message says how to start a stack.
        """
        home = home or Path(environ.get("DRAGOMAN_HOME") or "~/.dragoman").expanduser()
        named = {service: environ[variable(service)] for service in SERVICES if environ.get(variable(service))}
        if not named:
            named = _of_stack(home / STACK_FILE)
        files = (environ.get(f"DRAGOMAN_TLS_{name}", "") for name in ("CA", "CERTIFICATE", "KEY"))
        return cls(named, environ.get("DRAGOMAN_TOKEN", ""), *(Path(file) if file else None for file in files))


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(
            f"cannot read the PEM file {path}: {error.strerror}; see the DRAGOMAN_TLS_* variables"
        ) from error


def _of_stack(path: Path) -> Mapping[str, str]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unavailable(
            f"no stack is running: there is no {path}. Start one with `dragoman up` (or try `dragoman demo`), or set "
            f"{variable('activation')} and its like to the services' addresses",
            reason="NO_STACK",
        ) from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"{path} cannot be read ({error}); start the stack again with `dragoman up`") from error
    services = cast("dict[str, Any]", content).get("services") if isinstance(content, dict) else None
    if not isinstance(services, dict) or not services:
        raise Unavailable(f"{path} names no services; start the stack again with `dragoman up`", reason="NO_STACK")
    return {name: _address(entry) for name, entry in cast("dict[str, Any]", services).items() if name in SERVICES}


def _address(entry: object) -> str:
    """A service's entry is its address, or a mapping that holds it."""
    if not isinstance(entry, dict):
        return str(entry)
    facts = cast("dict[str, object]", entry)
    return str(facts.get("grpc") or facts.get("address") or "")
