"""Which ports the laptop stack uses: fixed offsets from one base, so that one flag moves them all."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dragoman.errors import FailedPrecondition, InvalidSpec

DEFAULT_BASE = 17400
BASE_VARIABLE = "DRAGOMAN_PORT_BASE"
HOST = "127.0.0.1"

_OFFSETS: Mapping[str, int] = {
    "nats": 0,
    "nats-monitor": 1,
    "s3": 2,
    "s3-master": 3,
    "s3-volume": 4,
    "s3-filer": 5,
    "s3-admin": 6,
    "llm": 7,
    "embedder": 8,
    "activation": 10,
    "sae-trainer": 11,
    "explainer": 12,
    "scorer": 13,
}
_METRICS_OFFSET = 10
_TWIN = 10_000
"""SeaweedFS opens port + 10000 beside each of its ports, for its own gRPC."""
_HIGHEST_BASE = 45_000


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of a stack, all on loopback."""

    base: int = DEFAULT_BASE

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= _HIGHEST_BASE:
            raise InvalidSpec(f"{self.base} is not between 1024 and {_HIGHEST_BASE}", field=BASE_VARIABLE)

    @classmethod
    def free(cls) -> "Ports":
        """Returns a base all of whose ports are free, kept from other processes that ask here: for a second stack."""
        dice = random.Random(os.urandom(8))
        for _ in range(200):
            ports = cls(dice.randrange(12_000, 22_000, 50))  # twins stay below the ports that systems hand out
            if _claim(ports.base) and not ports.taken(list(_OFFSETS)):
                return ports
        raise FailedPrecondition("no 30 free ports found between 12000 and 22000", reason="PORT_TAKEN")

    def of(self, name: str) -> int:
        """Returns the port of a server or service."""
        return self.base + _OFFSETS[name]

    def metrics(self, service: str) -> int:
        """Returns the port on which a service's metrics are."""
        return self.of(service) + _METRICS_OFFSET

    def address(self, name: str) -> str:
        """Returns host:port of a server or service."""
        return f"{HOST}:{self.of(name)}"

    def group(self, program: str) -> list[tuple[str, int]]:
        """Returns every port that a program opens, with what it is for."""
        named = {"nats": ["nats", "nats-monitor"], "store": [n for n in _OFFSETS if n.startswith("s3")]}
        names = named.get(program, [program] if program in _OFFSETS else [])
        ports = [(name, self.of(name)) for name in names]
        if program == "store":
            ports += [(f"{name} (gRPC)", port + _TWIN) for name, port in ports]
        if program in SERVICE_PORTS:
            ports.append((f"{program} (metrics)", self.metrics(program)))
        return ports

    def taken(self, programs: list[str]) -> list[tuple[str, int]]:
        """Returns those ports of some programs on which somebody listens already."""
        wanted = dict.fromkeys(pair for name in programs for pair in self.group(_program_of(name)))
        return [(name, port) for name, port in wanted if not _is_free(port)]


SERVICE_PORTS = ("activation", "sae-trainer", "explainer", "scorer")


def require_free(ports: Ports, programs: list[str]) -> None:
    """Raises FailedPrecondition, with what to do, when a port of these programs is taken."""
    taken = ports.taken(programs)
    if taken:
        listed = ", ".join(f"{port} ({name})" for name, port in taken)
        raise FailedPrecondition(
            f"something already listens on port {listed} of {HOST}. Stop it, or move the whole stack with "
            f"`--port-base N` or {BASE_VARIABLE}=N (now {ports.base}; each N takes N to N+23 and N+10002 to N+10006)",
            reason="PORT_TAKEN",
        )


_CLAIMS: dict[int, IO[bytes]] = {}
"""Bases that this process holds until it ends: between the choice of a port and its use others may ask for it too."""


def _claim(base: int) -> bool:
    """Takes a base for this process. False when another process has it."""
    if base in _CLAIMS:
        return True
    file = (Path(tempfile.gettempdir()) / f"dragoman-ports-{os.getuid()}-{base}").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _CLAIMS[base] = file
    return True


def _program_of(name: str) -> str:
    return "store" if name.startswith("s3") else "nats" if name.startswith("nats") else name


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
