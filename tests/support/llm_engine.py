"""A real engine for tests: llama.cpp's server with the smallest model, as a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from dragoman.models import convert_gguf, pull

SMALLEST = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    url: str
    model: str
    api_key: str
    process: subprocess.Popen[bytes]


def home() -> Path:
    """Where models are kept between test runs."""
    return Path(os.environ.get("DRAGOMAN_HOME", Path.home() / ".dragoman"))


def smallest_model() -> Path:
    """The smallest real model as a folder of float32 weights: dequantised once for all tests."""
    path = pull(SMALLEST, home())
    return convert_gguf(path, path.with_suffix(""))


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def engine(*, slots: int = 2, ctx: int = 1024, api_key: str = "", model: str = SMALLEST) -> Iterator[Engine]:
    """Start the server with that model of the table, wait for its health, stop it at the end."""
    port = free_port()
    command = [sys.executable, "-m", "dragoman.stack.llm_server", "--model", str(pull(model, home()))]
    command += ["--alias", model, "--port", str(port), "--slots", str(slots), "--ctx", str(ctx), "--threads", "2"]
    process = subprocess.Popen(command, env={**os.environ, "DRAGOMAN_LLM_API_KEY": api_key})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process)
        yield Engine(url, model, api_key, process)
    finally:
        process.terminate()
        process.wait(20)


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Return when `/health` answers 200; fail when the process ends or time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"the engine ended with {process.returncode} before it was healthy"
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{url} was not healthy within {seconds} s")
