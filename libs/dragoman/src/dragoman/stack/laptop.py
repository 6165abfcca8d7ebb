"""The whole of Dragoman on one machine: real servers and the very processes of the cluster, as children of this one."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from dragoman.errors import InvalidSpec, NotFound
from dragoman.ids import Json
from dragoman.stack.credentials import Credentials, credentials_of
from dragoman.stack.engines import VLLM, LlmChoice, embedder, language_model, vllm
from dragoman.stack.home import STACK_FILE, lock_home, write_stack_file
from dragoman.stack.ports import Ports, require_free
from dragoman.stack.process import Guard, Program
from dragoman.stack.servers import nats, object_store
from dragoman.stack.services import PACKAGES, environment, service, worker
from dragoman.stack.supervisor import ProcessState, Supervisor

Say = Callable[[str], None]
PullModel = Callable[[str, Path], Path]


class Stack:
    """A stack with its state under `home`, which survives it. Use as a context manager, or `up()` and `down()`.

    llm: which language model judges, or None for none. services: names of PACKAGES; none for NATS and store alone.
    embedder: name of `dragoman.models` whose vectors some scorers use; "" for none.
    environ: told to every service on top of the rest. say: hears what is being waited for, a line at a time.
    pull: fetches a model by name into a home; `dragoman.models.pull` by default.
    """

    def __init__(
        self,
        home: Path,
        llm: LlmChoice | None = None,
        ports: Ports | None = None,
        *,
        services: Sequence[str] = tuple(PACKAGES),
        embedder: str = "",
        environ: Mapping[str, str] | None = None,
        say: Say = lambda line: None,
        pull: PullModel | None = None,
    ) -> None:
        unknown = sorted(set(services) - set(PACKAGES))
        if unknown:
            raise InvalidSpec(f"{unknown[0]!r} is no service; there are {', '.join(PACKAGES)}", field="services")
        self.home = home.absolute()
        self.llm = llm
        self.ports = ports or Ports()
        self.services = tuple(services)
        self.embedder = embedder
        self._environ = dict(environ or {})
        self._say = say
        self._pull = pull or _pull
        self._credentials: Credentials | None = None
        self._lock: int | None = None
        self._guard: Guard | None = None
        self._supervisor: Supervisor | None = None
        self._worker_count = 0
        self._stop = threading.Event()
        self._old_handlers: dict[signal.Signals, object] = {}

    # --------------------------------------------------------------- up, down

    def up(self) -> None:
        """Starts everything and returns when all of it is healthy.

        Raises FailedPrecondition when another stack has the home, a port is taken or a server is not installed, and
        Unavailable, with the end of its log, when a process does not become healthy. Nothing is left running then.
        """
        self._lock = lock_home(self.home)
        try:
            self._handle_signals()
            self._up()
        except BaseException:
            self.down()
            raise

    def _up(self) -> None:
        self._credentials = credentials_of(self.home)
        servers = self._servers(self._credentials)
        require_free(self.ports, [*(program.name for program in servers), *self.services])
        assert self._lock is not None, "up() takes it"
        self._guard = Guard(self._lock, self.home / STACK_FILE)
        self._supervisor = Supervisor(self.home / "logs", self._guard)
        for program in servers:
            self._supervisor.start(program)
        self._wait("nats", "store")
        told = self.environment()
        for name in self.services:
            self._supervisor.start(service(name, self.ports, told))
        self._wait(*[p.name for p in servers if p.name in ("llm", "embedder")], *self.services)
        write_stack_file(self.home, self.connection())

    def _servers(self, credentials: Credentials) -> list[Program]:
        servers = [nats(self.home, self.ports, credentials), object_store(self.home, self.ports, credentials)]
        if self.llm is not None and self.llm.engine == VLLM:
            servers.append(vllm(self.llm, self.ports, credentials))
        elif self.llm is not None and not self.llm.url:
            servers.append(language_model(self._model_path(self.llm), self.llm, self.ports, credentials))
        if self.embedder:
            path = self._embedder_path()
            servers.append(embedder(path, self.embedder, self.ports, credentials))
        return servers

    def _embedder_path(self) -> Path:
        from dragoman.models.bert_gguf import convert_bert

        folder = self._pull(self.embedder, self.home)
        return convert_bert(folder, folder.with_name(f"{folder.name}.gguf"))

    def _model_path(self, llm: LlmChoice) -> Path:
        if "/" not in llm.model and not llm.model.endswith(".gguf"):
            return self._pull(llm.model, self.home)
        path = Path(llm.model).expanduser()
        if not path.is_file():
            raise NotFound(
                f"there is no model file {path}; give the path of a GGUF file or a name that `dragoman models` lists"
            )
        return path

    def _wait(self, *names: str) -> None:
        for name in names:
            start = time.monotonic()
            self._running.wait_healthy(name)
            self._say(f"{name} is up ({time.monotonic() - start:.1f} s)")

    def down(self) -> None:
        """Stops everything in reverse order. State stays. Safe to call twice."""
        if self._supervisor is not None:
            servers = ("embedder", "llm", "store", "nats")
            self._supervisor.stop([s.name for s in self._supervisor.states() if s.name not in servers])
            for name in servers:
                self._supervisor.stop([name])
            self._supervisor.close()
            self._supervisor = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._restore_signals()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # ---------------------------------------------------------------- running

    def wait(self) -> None:
        """Returns at Ctrl-C or SIGTERM. Raises Unavailable when a process keeps crashing and is given up."""
        supervisor = self._running
        with contextlib.suppress(KeyboardInterrupt):
            while not self._stop.is_set():
                if supervisor.failed.wait(0.2) and supervisor.failure is not None:
                    raise supervisor.failure

    def start(self, name: str) -> None:
        """Starts a process that was killed, and waits until it is healthy."""
        self._running.resume(name)
        self._running.wait_healthy(name)

    def kill(self, name: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Ends one process by name ("nats", "store", "llm", a service, a worker); it stays so until `start`."""
        self._running.kill(name, with_signal)

    def add_worker(self, service_name: str) -> str:
        """Starts one more worker of a service; returns its name."""
        self._worker_count += 1
        program = worker(service_name, self._worker_count, self.environment())
        self._running.start(program)
        return program.name

    def states(self) -> Sequence[ProcessState]:
        """Returns how every process is doing."""
        return self._running.states()

    def pid(self, name: str) -> int | None:
        """Returns the process id of a process that runs."""
        return self._running.pid(name)

    def environment(self) -> dict[str, str]:
        """Returns what services are told, secrets included: a client with it reaches the same servers."""
        credentials = self._credentials or credentials_of(self.home)
        return {**environment(self.home, self.ports, credentials, self.llm, self.embedder), **self._environ}

    def connection(self) -> dict[str, Json]:
        """Returns the content of stack.json: every address, no secret."""
        addresses: dict[str, Json] = {
            name: {"grpc": self.ports.address(name), "metrics": f"http://127.0.0.1:{self.ports.metrics(name)}/metrics"}
            for name in self.services
        }
        told = self.environment()
        return {
            "schema": 1,
            "pid": os.getpid(),
            "home": str(self.home),
            "port_base": self.ports.base,
            "nats": told["DRAGOMAN_NATS_URL"],
            "nats_monitor": f"http://{self.ports.address('nats-monitor')}",
            "s3": f"http://{told['DRAGOMAN_S3_ENDPOINT']}",
            "s3_bucket": told["DRAGOMAN_S3_BUCKET"],
            "llm": told.get("DRAGOMAN_LLM_URL"),
            "llm_model": told.get("DRAGOMAN_LLM_MODEL"),
            "embedder": told.get("DRAGOMAN_EMBED_URL"),
            "services": addresses,
            "logs": str(self.home / "logs"),
        }

    @property
    def _running(self) -> Supervisor:
        assert self._supervisor is not None, "the stack is not up"
        return self._supervisor

    # ---------------------------------------------------------------- signals

    def _handle_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGTERM, signal.SIGHUP):
                self._old_handlers[name] = signal.signal(name, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ends `up()`, `wait()` or whatever the with-block does, by way of `down()`."""
        if not self._stop.is_set():
            self._stop.set()
            raise KeyboardInterrupt

    def _restore_signals(self) -> None:
        for name, handler in self._old_handlers.items():
            signal.signal(name, handler)  # pyright: ignore[reportArgumentType]  what signal() itself returned
        self._old_handlers.clear()


def _pull(name: str, home: Path) -> Path:
    from dragoman.models import bar, local_path, pull

    if local_path(name, home).exists():
        return pull(name, home)
    with bar(name) as progress:
        return pull(name, home, progress)
