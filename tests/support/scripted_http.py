"""A plain HTTP server on loopback that answers as a test tells it to, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def chat_reply(text: str = "Yes", candidates: dict[str, float] | None = None) -> Reply:
    """A chat completion in OpenAI's form; candidates are log-probabilities of the first token."""
    listed = [{"token": token, "logprob": logprob} for token, logprob in (candidates or {}).items()]
    choice: dict[str, Any] = {"finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if listed:
        choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    return Reply(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def error_reply(status: int, message: str, **headers: str) -> Reply:
    """An error in OpenAI's form."""
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), headers)


class ScriptedServer(ThreadingHTTPServer):
    """Calls `script(request number from 0, path, body)` for each request."""

    daemon_threads = True

    def __init__(self, script: Callable[[int, str, bytes], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.lock = threading.Lock()
        self.seen: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        """Of each request, their names in small letters."""
        self.active = 0
        self.most_active = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        server = self.server
        with server.lock:
            number = len(server.seen)
            server.seen.append((self.path, body))
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.active += 1
            server.most_active = max(server.most_active, server.active)
        try:
            reply = server.script(number, self.path, body)
        finally:
            with server.lock:
                server.active -= 1
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def scripted(script: Callable[[int, str, bytes], Reply]) -> Iterator[ScriptedServer]:
    """Run a scripted server for the time of a test."""
    server = ScriptedServer(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
