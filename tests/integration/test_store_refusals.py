"""What the store says when it is refused, away, overloaded or not up to it."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dragoman.errors import FailedPrecondition, InvalidSpec, TransientTaskError, Unavailable
from dragoman.store import Store, StoreConfig


def test_wrong_keys_are_refused_in_plain_words(store: Store) -> None:
    wrong = Store(replace(store.config, secret_key="not the secret"))
    with pytest.raises(Unavailable, match=r"refused access .*Set DRAGOMAN_S3_ACCESS_KEY") as caught:
        wrong.probe()
    assert caught.value.reason == "STORE_ACCESS_DENIED"
    with pytest.raises(Unavailable, match="refused access"):
        wrong.objects.put_bytes("key", b"data")


def test_a_missing_bucket_is_named(store: Store) -> None:
    with pytest.raises(Unavailable, match="has no bucket 'test-missing'"):
        Store(replace(store.config, bucket="test-missing")).objects.get_range("key", 0, 1)


def test_an_absent_store_is_named() -> None:
    absent = Store(StoreConfig("127.0.0.1:9", "key", "secret", patience=0.5))
    with pytest.raises(Unavailable, match=r"http://127.0.0.1:9 cannot be reached .*refused") as caught:
        absent.probe()
    assert isinstance(caught.value, TransientTaskError), "a task that met it is tried again later"


def test_an_endpoint_may_be_an_address() -> None:
    store = Store(StoreConfig("https://s3.example.org:9000/", "key", "secret"))
    assert store.objects._s3.where == "https://s3.example.org:9000"
    for wrong in ("ftp://host", "http://host/bucket", "host/bucket"):
        with pytest.raises(InvalidSpec, match="host:port"):
            Store(StoreConfig(wrong, "key", "secret"))


class _CarelessStore(BaseHTTPRequestHandler):
    """A store that forgets about If-None-Match, as some gateways do; and one that fails, for a while."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    failures: list[int]

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fails(self) -> bool:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        if not self.failures:
            return False
        self._answer(self.failures.pop(), b"<Error><Code>SlowDown</Code><Message>later</Message></Error>")
        return True

    def do_PUT(self) -> None:
        if not self._fails():
            self.objects[self.path] = self.body
            self._answer(200)

    def do_HEAD(self) -> None:
        if not self._fails():
            self._answer(200)

    def do_GET(self) -> None:
        if not self._fails():
            self._answer(200, self.objects[self.path])

    def do_DELETE(self) -> None:
        self._answer(204)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@contextmanager
def _careless_store(failures: list[int], kind: type[_CarelessStore] = _CarelessStore) -> Iterator[StoreConfig]:
    handler = type("Handler", (kind,), {"objects": {}, "failures": failures})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        assert isinstance(server, socketserver.ThreadingMixIn)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield StoreConfig(f"127.0.0.1:{server.server_port}", "key", "secret", patience=5)
        server.shutdown()


def test_a_store_without_conditional_puts_is_refused() -> None:
    with (
        _careless_store([]) as config,
        pytest.raises(FailedPrecondition, match="does not honour `If-None-Match") as caught,
    ):
        Store(config).probe()
    assert "SeaweedFS" in caught.value.message
    assert config.endpoint in caught.value.message


def test_an_overloaded_store_is_asked_again() -> None:
    with _careless_store([503, 500, 503]) as config:
        Store(config).objects.put_bytes("key", b"data")
        assert Store(config).objects.get_bytes("key") == b"data"


class _ForgetfulStore(_CarelessStore):
    """Stores, and breaks the connection before it says so; the second time it knows."""

    def do_PUT(self) -> None:
        self._fails()
        if self.path in self.objects:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code><Message>exists</Message></Error>")
            return
        self.objects[self.path] = self.body
        self.close_connection = True
        self.connection.close()


@pytest.mark.parametrize(("there", "ours"), [(None, True), (b"another's", False)])
def test_a_conditional_put_whose_answer_got_lost_is_known_to_be_ours(there: bytes | None, ours: bool) -> None:
    with _careless_store([], _ForgetfulStore) as config:
        store = Store(config)
        if there is not None:
            with pytest.raises(TransientTaskError, match="closed connection without response"):
                Store(replace(config, patience=0)).objects.put_bytes("key", there)
        assert store.objects.put_if_absent("key", b"mine") is ours


def test_patience_ends() -> None:
    with _careless_store([503] * 100) as config, pytest.raises(TransientTaskError, match="could not put key: SlowDown"):
        Store(replace(config, patience=0.3)).objects.put_bytes("key", b"data")
