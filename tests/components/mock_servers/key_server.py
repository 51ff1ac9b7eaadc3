"""A key server on loopback that misbehaves as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from .support import ADDRESS

STALL_SECONDS = 30.0
Behaviour = Callable[[BaseHTTPRequestHandler], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are what these tests are about."""


class KeyServer:
    """Serves a JWK Set at any path; `requests` counts the downloads, `behave` replaces the answer."""

    def __init__(self, *keys: dict[str, str], port: int = 0) -> None:
        self.keys = list(keys)
        self.requests = 0
        self.behave: Behaviour = self.serve_keys
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                outer.behave(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing to say."""

        self._server = _Server((ADDRESS, port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/jwks"

    def __enter__(self) -> KeyServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve_keys(self, request: BaseHTTPRequestHandler) -> None:
        answer(request, 200, self.key_set)

    @property
    def key_set(self) -> bytes:
        return json.dumps({"keys": self.keys}).encode()


def answer(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    return lambda request: answer(request, status, body, **headers)


def stall_before_answer(_: BaseHTTPRequestHandler) -> None:
    time.sleep(STALL_SECONDS)


def stall_in_body(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"keys": [')
    request.wfile.flush()
    time.sleep(STALL_SECONDS)


def break_off(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"keys": [')
