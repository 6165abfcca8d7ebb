"""Real NATS, real object store and real service processes on free ports, each of which a test may kill and start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from dragoman.stack import Ports
from dragoman.store import Store, StoreConfig

BIN = Path(sys.executable).parent
SUPPORT = Path(__file__).parent


def _free_ports() -> Iterator[int]:
    """Yields ports of blocks that no other process is given, so that tests side by side never ask for the same one.

    All below what the kernel gives to connections: a killed server must find its port again.
    """
    while True:
        base = Ports.free().base
        yield from range(base, base + _BLOCK)


_BLOCK = 50
"""Ports between two bases of `Ports.free`."""
_PORTS = _free_ports()


def free_port() -> int:
    """Returns a port that is free, and port + 10000 with it, and that is returned once."""
    return next(port for port in _PORTS if _is_free(port) and _is_free(port + 10000))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass
class Cluster:
    """Processes by name: "nats", "store", and services under the names a test gives them."""

    root: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    commands: dict[str, tuple[list[str], Mapping[str, str]]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    # ------------------------------------------------------------------ begin

    def start_infrastructure(self) -> "Cluster":
        """Starts NATS and the store and waits for both."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._prepare_nats()
        self._prepare_store()
        self.start("nats")
        self.start("store")
        self.wait_for_nats()
        self.store().probe()
        return self

    def _prepare_nats(self) -> None:
        port, monitor = self._port("nats"), self._port("nats-monitor")
        config = self.root / "nats.conf"
        config.write_text(
            f"listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\n"
            f'jetstream {{ store_dir: "{self.root}/jetstream", max_file: 256GB, sync_interval: always }}\n'
        )
        self.commands["nats"] = ([str(BIN / "nats-server"), "-c", str(config)], {})

    def _prepare_store(self) -> None:
        identity = {
            "name": "app",
            "credentials": [{"accessKey": "testkey", "secretKey": "testsecret"}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        config = self.root / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        data = self.root / "store"
        data.mkdir(exist_ok=True)
        ports = {name: self._port(name) for name in ("s3", "master", "volume", "filer")}
        self.commands["store"] = (
            [
                str(BIN / "weed"),
                "mini",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                *[f"-{name}.port={port}" for name, port in ports.items()],
                f"-s3.config={config}",
                "-admin.ui=false",
                "-webdav=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.allowDeleteBucketNotEmpty=false",
                "-master.resumeState=false",
                "-master.telemetry=false",
            ],
            {},
        )

    def _port(self, name: str) -> int:
        return self.ports.setdefault(name, free_port())

    # --------------------------------------------------------------- settings

    @property
    def settings(self) -> dict[str, str]:
        """Environment of services: short leases, so that tests need not wait long for a redelivery."""
        return {
            "DRAGOMAN_NATS_URL": f"nats://127.0.0.1:{self.ports['nats']}",
            "DRAGOMAN_S3_ENDPOINT": f"127.0.0.1:{self.ports['s3']}",
            "DRAGOMAN_S3_ACCESS_KEY": "testkey",
            "DRAGOMAN_S3_SECRET_KEY": "testsecret",
            "DRAGOMAN_HOME": str(self.root / "home"),
            "DRAGOMAN_ACK_WAIT_S": "3",
            "DRAGOMAN_LEASE_S": "4",
            "DRAGOMAN_MEND_S": "2",
            "DRAGOMAN_DRAIN_S": "2",
            "DRAGOMAN_LOG_FORMAT": "text",
            "DRAGOMAN_INSECURE": "1",
            "DRAGOMAN_SOURCE_ROOTS": "/",
            "DRAGOMAN_HUB_ALLOW": "*",
            **self.environ,
        }

    def store(self, bucket: str = "dragoman") -> Store:
        """A client of the cluster's object store."""
        endpoint = f"127.0.0.1:{self.ports['s3']}"
        return Store(StoreConfig(endpoint, "testkey", "testsecret", bucket))

    # -------------------------------------------------------------- processes

    def service(self, package: str, *arguments: str, name: str = "", environ: Mapping[str, str] | None = None) -> str:
        """Starts `python -m package arguments` and returns its name. A server gets a port of its own."""
        name = name or "-".join((package, *arguments))
        path = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {f"{package.upper()}_GRPC_ADDRESS": f"127.0.0.1:{self._port(name)}", "PYTHONPATH": path}
        self.commands[name] = ([sys.executable, "-m", package, *arguments], {**own, **(environ or {})})
        self.start(name)
        return name

    def start(self, name: str) -> None:
        """Starts a process that was defined before."""
        command, environ = self.commands[name]
        log = (self.root / f"{name}.log").open("ab")
        base = {**os.environ, **(self.settings if name not in {"nats", "store"} else {}), **environ}
        self.processes[name] = subprocess.Popen(command, env=base, stdout=log, stderr=log, start_new_session=True)

    def kill(self, name: str, with_signal: int = signal.SIGKILL) -> None:
        """Sends a signal to a process and waits until it is gone."""
        process = self.processes.pop(name)
        process.send_signal(with_signal)
        process.wait(30)

    def restart(self, name: str, away: float = 0.0) -> None:
        """SIGKILLs a process and starts it again after a while, in seconds."""
        self.kill(name)
        time.sleep(away)
        self.start(name)

    def stop(self) -> None:
        """Ends everything: services in order, then store and NATS."""
        services = [name for name in self.processes if name not in {"nats", "store"}]
        for name in services:
            self.processes[name].send_signal(signal.SIGTERM)
        for name in services:
            try:
                self.processes[name].wait(15)
            except subprocess.TimeoutExpired:
                self.processes[name].kill()
        for name in ("store", "nats"):
            if name in self.processes:
                self.processes[name].kill()
                self.processes[name].wait()
        self.processes.clear()

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.root / f"{name}.log").read_text(errors="replace")

    def wait_for_nats(self, timeout: float = 20) -> None:
        """Returns when JetStream answers."""
        url = f"http://127.0.0.1:{self.ports['nats-monitor']}/healthz?js-enabled-only=true"
        deadline = time.monotonic() + timeout
        while True:
            try:
                urllib.request.urlopen(url, timeout=2).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "nats-server is not installed or does not start"
                time.sleep(0.05)

    def channel(self, name: str, timeout: float = 60) -> grpc.Channel:
        """A channel to a service, ready."""
        channel = grpc.insecure_channel(f"127.0.0.1:{self.ports[name]}")
        try:
            grpc.channel_ready_future(channel).result(timeout)
        except grpc.FutureTimeoutError:
            raise AssertionError(f"{name} does not answer:\n{self.log(name)[-4000:]}") from None
        return channel
