"""A llama.cpp server in the foreground: `python -m dragoman.stack.llm_server --model FILE --alias NAME --port P`.

Speaks OpenAI's API (chat, completions, logprobs, JSON schema) with a prefix cache. Ends on SIGTERM, on Ctrl-C
and when the process that started it is gone, so that a killed stack leaves no engine behind.
"""

import argparse
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

_API_KEY_VARIABLE = "DRAGOMAN_LLM_API_KEY"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PARENT_POLL_SECONDS = 0.5

# Prefixes kept beside the slots; the engine's own default is 8 GiB, which is a laptop's memory.
PROMPT_CACHE_MIB = 512

# GNU OpenMP lets idle threads spin for seconds by default. Beside one other busy process that costs more than half of
# the engine's speed (15 against 37 prompt tokens a second); a short spin is as fast when the machine is quiet.
SPIN_COUNT = "3000"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What to serve and how.

    `ctx` is the context length in tokens of each slot, `threads` 0 means every core; `embedding` serves vectors of
    texts instead of completions.
    """

    model: Path
    alias: str
    host: str = "127.0.0.1"
    port: int = 8090
    slots: int = 2
    threads: int = 0
    ctx: int = 4096
    batch: int = 2048
    embedding: bool = False
    api_key: str | None = None


def parse(arguments: Sequence[str] | None = None) -> ServerOptions:
    """Options from a command line; the API key only ever comes from the environment."""
    parser = argparse.ArgumentParser(prog="python -m dragoman.stack.llm_server", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--alias", default="", help="model name in the API (default: the file's name)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--slots", type=int, default=2, help="requests computed at once")
    parser.add_argument("--threads", type=int, default=0, help="0: every core this process may use")
    parser.add_argument("--ctx", type=int, default=4096, help="context length of each slot, tokens")
    parser.add_argument("--batch", type=int, default=2048, help="prompt tokens computed in one batch")
    parser.add_argument("--embedding", action="store_true", help="serve /v1/embeddings, and no completions")
    given = parser.parse_args(arguments)
    given.alias = given.alias or given.model.stem
    return ServerOptions(**vars(given), api_key=os.environ.get(_API_KEY_VARIABLE) or None)


def serve(options: ServerOptions) -> None:
    """Load the model and serve until told to stop. Does not return."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # before the engine starts threads, which inherit it
    watcher = threading.Thread(target=_exit_when_told, args=(os.getppid(),), name="watcher")
    watcher.start()
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when the engine's library is loaded
    xllamacpp = _engine()
    try:
        server = xllamacpp.Server(_engine_params(xllamacpp, options))
    except RuntimeError as error:
        _fail(f"{options.model.name} cannot be served: {error}. Is it a whole GGUF file, and is there memory for it?")
    print(f"serving {options.alias} at {server.listening_address}", flush=True)  # noqa: T201 - for a person at the shell
    watcher.join()


def _engine() -> Any:
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        _fail(f"the engine is not installed ({error}); pip install 'dragoman[stack]'")


def _engine_params(xllamacpp: Any, options: ServerOptions) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.ctx * options.slots
    params.n_batch = options.batch
    threads = options.threads or len(os.sched_getaffinity(0))
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.api_keys = [options.api_key] if options.api_key else []
    params.endpoint_metrics = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.fit_params = False  # serve what was asked for, or fail; never a silently shorter context
    params.n_gpu_layers = 0
    if options.embedding:
        params.embedding = True
        params.n_ubatch = options.batch  # a text is embedded in one piece
    params.ui = False
    params.verbosity = 2  # warnings and errors
    return params


def _exit_when_told(parent: int) -> None:
    """End the process on a signal or when the parent is gone; the engine holds nothing that needs saving."""
    while signal.sigtimedwait(_SIGNALS, _PARENT_POLL_SECONDS) is None:
        if os.getppid() != parent:
            break
    sys.stdout.flush()
    os._exit(0)


def _check(options: ServerOptions) -> None:
    if not options.model.is_file():
        _fail(f"there is no model file {options.model}; fetch one with `dragoman models pull NAME`")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            _fail(f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another --port")


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"llm_server: {message}\n")
    sys.stderr.flush()
    os._exit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve as the command line says."""
    options = parse(arguments)
    _check(options)
    serve(options)


if __name__ == "__main__":
    main()
