"""Stand-ins for what is behind the proxy: the TCP application, the OAuth server, the HTTP authorizer."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from proxy_self_test.tokens import SigningKey

LOOPBACK = "127.0.0.1"


class EchoHandler(socketserver.BaseRequestHandler):
    """Sends back what it receives, until the other side has said all."""

    def handle(self) -> None:
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class QuietHandler(BaseHTTPRequestHandler):
    """Answers JSON and keeps no log."""

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The self-test says what it asks; the servers stay silent."""


def identity_handler(issuer: str, path: str, key: SigningKey) -> type[QuietHandler]:
    """Discovery document and key set below `path` (OpenID Connect Discovery 1.0, section 4)."""
    documents = {
        f"{path}/.well-known/openid-configuration": {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        },
        f"{path}/jwks": key.key_set(),
    }

    class IdentityHandler(QuietHandler):
        def do_GET(self) -> None:
            if self.path in documents:
                self.answer(200, documents[self.path])
            else:
                self.answer(404, {"error": "not_found"})

    return IdentityHandler


def authorizer_handler(key: SigningKey) -> type[QuietHandler]:
    """204 for a token that the key accepts, 401 without one, 403 for any other."""

    class AuthorizerHandler(QuietHandler):
        def do_GET(self) -> None:
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or not token:
                self.answer(401, {"error": "invalid_request"})
            elif key.accepts(token):
                self.send_response(204)
                self.send_header("X-Auth-Subject", "self-test")
                self.end_headers()
            else:
                self.answer(403, {"error": "invalid_token"})

    return AuthorizerHandler


@contextmanager
def running(server: socketserver.BaseServer) -> Iterator[None]:
    """Serves in a thread of its own for as long as the context lasts."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def echo_server(port: int) -> EchoServer:
    return EchoServer((LOOPBACK, port), EchoHandler)


def http_server(port: int, handler: type[QuietHandler]) -> ThreadingHTTPServer:
    return ThreadingHTTPServer((LOOPBACK, port), handler)
