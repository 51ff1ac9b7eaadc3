"""An OpenID Connect server on loopback that does what a test tells it to, well or badly."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

from tests.ports import free_port
from tests.proxy.auth.tokens import EcKey, RsaKey

Answer = Callable[[BaseHTTPRequestHandler], None]


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(body)


class Issuer:
    """Serves discovery and key set below `/<name>`. `answers` replaces what a path says; `downloads` counts by path.

    With `tls` it speaks https as `host`, which is 127.0.0.1 all the same.
    """

    def __init__(
        self,
        name: str = "awsexample",
        port: int | None = None,
        keys: list[RsaKey | EcKey] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.name = name
        self.host = host
        self._tls = tls
        self.port = port or free_port()
        self.keys: list[RsaKey | EcKey] = [RsaKey(f"{name}-1")] if keys is None else keys
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self.host}:{self.port}/{self.name}"

    @property
    def key(self) -> Any:
        return self.keys[0]

    @property
    def key_set_path(self) -> str:
        return f"/{self.name}/jwks"

    def downloads(self) -> int:
        """How often the key set was asked for."""
        return sum(path == self.key_set_path for path, _, _ in self.requests)

    def start(self) -> Self:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                path = self.path.partition("?")[0]
                issuer.requests.append((self.path, dict(self.headers.items()), self.rfile.read(length)))
                issuer.answers.get(path, issuer.document)(self)

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """A peer that does not like our certificate is what some tests are about."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self._tls:
            # The handshake is done by the thread that reads first, so that nobody holds up the listener.
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def document(self, handler: BaseHTTPRequestHandler) -> None:
        """What an issuer says that works."""
        documents: dict[str, Any] = {
            f"/{self.name}/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "token_endpoint": f"{self.url}/token",
                "authorization_endpoint": f"{self.url}/authorize",
            },
            self.key_set_path: {"keys": [key.jwk() for key in self.keys]},
            f"/{self.name}/token": {"access_token": "none"},
            f"/{self.name}/authorize": {},
        }
        found = documents.get(handler.path.partition("?")[0])
        send(handler, json.dumps(found).encode(), 200 if found is not None else 404)

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def garbage(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b"<html>\xff{{{ not JSON")


def redirect(handler: BaseHTTPRequestHandler) -> None:
    """To a key set that is perfectly good, elsewhere."""
    send(handler, b"", 302, Location=f"http://{handler.headers['Host']}/elsewhere/jwks")


def huge(handler: BaseHTTPRequestHandler) -> None:
    """10 MB of keys."""
    key = json.dumps({"kty": "RSA", "kid": "filler", "n": "A" * 400, "e": "AQAB"})
    body = '{"keys":[' + ",".join([key] * (10_000_000 // len(key))) + "]}"
    send(handler, body.encode())


def drip(handler: BaseHTTPRequestHandler) -> None:
    """The body of the answer, a byte now and then."""
    Drip("body")(handler)


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Says nothing for longer than anybody should wait."""
    time.sleep(20)


class Drip:
    """A byte now and then, each within the reader's timeouts, for longer than anybody should listen.

    `broken_off` has, for each answer, the seconds after which the reader went away, or None if it never did; `at_once`
    is the most answers that were under way at a time.
    """

    SECONDS, PAUSE_SECONDS = 30, 0.25
    BEGINNINGS: ClassVar = {
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
        "header field": b"HTTP/1.1 200 OK\r\nX-Long: ",
        "status line": b"HTTP/1.1 200 ",
    }

    def __init__(self, part: str) -> None:
        self.part = part  # of the answer: body, header field or status line
        self.broken_off: list[float | None] = []
        self.at_once = 0
        self._under_way = 0

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        started = time.monotonic()
        try:
            handler.wfile.write(self.BEGINNINGS[self.part])
            for _ in range(int(self.SECONDS / self.PAUSE_SECONDS)):
                handler.wfile.write(b"1")
                handler.wfile.flush()
                time.sleep(self.PAUSE_SECONDS)
            self.broken_off.append(None)
        except OSError:
            self.broken_off.append(time.monotonic() - started)
        finally:
            self._under_way -= 1
            handler.close_connection = True
