"""Tests the mock servers of the machine it runs on, as a client would see them; exit code 0 only if all holds.

Run by the test document on an instance booted from a new image. It checks tokens by its own arithmetic instead of the
JOSE library that it tests. Standard library alone, Python 3.9 or newer.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

SETTINGS = (Path("/etc/secure-proxy/image.env"), Path("/etc/secure-proxy/instance.env"))
ISSUER_NAME = "awsexample"
READY_SECONDS = 60.0
REQUEST_SECONDS = 10
# RFC 8017 section 9.2: what precedes a SHA-256 digest in a PKCS #1 v1.5 signature.
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


class ExpectationError(Exception):
    """One expectation does not hold."""


class Answer:
    """An HTTP answer: status, headers by lower-case name, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)


class SelfTest:
    def __init__(self, settings: dict[str, str], address: str = "127.0.0.1") -> None:
        self._address = address
        self._echo_port = int(settings["TCP_SERVER_PORT"])
        self._oauth_port = int(settings["OAUTH_SERVER_PORT"])
        self._authorizer_port = int(settings["AUTHORIZER_PORT"])
        self._authority = f"{settings['BACKEND_HOST']}:{self._oauth_port}"
        self._issuer = f"http://{self._authority}/{ISSUER_NAME}"

    def run(self) -> None:
        """Raises ExpectationError, with what was expected and what came, where the first thing does not hold."""
        self._step("servers are ready", self._wait_until_ready)
        for size in (1, 65_536, 1_048_576):
            self._step(f"echo returns {size} bytes, the sending side ended", partial(self._check_echo, size))
        self._step("discovery names the issuer", self._check_discovery)
        self._step("tokens are signed by the served keys", self._check_tokens)
        self._step("the authorizer accepts a good token", self._check_accepted)
        self._step("the authorizer refuses no token and bad ones", self._check_refused)

    def _step(self, title: str, check: Callable[[], None]) -> None:
        check()
        print(f"ok  {title}", flush=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection((self._address, self._echo_port), timeout=1).close()
                expect("OAuth server", self._oauth("GET", "/isalive").status, 200)
                expect("authorizer", self._ask(self._authorizer_port, "GET", "/healthz").status, 200)
            except (OSError, http.client.HTTPException, ExpectationError) as error:
                if time.monotonic() > deadline:
                    raise ExpectationError(f"not ready within {READY_SECONDS:.0f} s: {error}") from None
                time.sleep(0.5)
            else:
                return

    def _check_echo(self, size: int) -> None:
        sent = os.urandom(size)
        with socket.create_connection((self._address, self._echo_port), timeout=REQUEST_SECONDS) as connection:
            sender = threading.Thread(target=send_and_end, args=(connection, sent))
            sender.start()
            received = b"".join(iter(lambda: connection.recv(65_536), b""))
            sender.join()
        if received != sent:
            raise ExpectationError(f"{len(received)} bytes came back, not the {len(sent)} sent")

    def _check_discovery(self) -> None:
        document = self._oauth("GET", f"/{ISSUER_NAME}/.well-known/openid-configuration").json()
        expect("issuer", document.get("issuer"), self._issuer)
        for name, path in (("token_endpoint", "token"), ("authorization_endpoint", "authorize"), ("jwks_uri", "jwks")):
            expect(name, document.get(name), f"{self._issuer}/{path}")

    def _check_tokens(self) -> None:
        keys = {key["kid"]: key for key in self._oauth("GET", f"/{ISSUER_NAME}/jwks").json()["keys"]}
        for grant in ("authorization_code", "client_credentials"):
            header, claims = verify(self._token(grant), keys)
            expect("alg", header.get("alg"), "RS256")
            expect("iss", claims.get("iss"), self._issuer)
            if not claims.get("exp", 0) > time.time():
                raise ExpectationError(f"{grant}: the token is expired or has no 'exp'")

    def _check_accepted(self) -> None:
        token = self._token("authorization_code")
        answer = self._authorize(f"Bearer {token}")
        if not 200 <= answer.status < 300:
            raise ExpectationError(f"good token: HTTP status {answer.status}, {answer.headers.get('x-auth-reason')}")
        claims = json.loads(decode(token.split(".")[1]))
        expect("X-Auth-Subject", answer.headers.get("x-auth-subject"), claims["sub"])
        expect("X-Auth-Expires", answer.headers.get("x-auth-expires"), str(claims["exp"]))

    def _check_refused(self) -> None:
        header, payload, signature = self._token("authorization_code").split(".")
        unsigned = encode(b'{"alg":"none","typ":"JWT"}')
        flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
        expect("no token", self._authorize(None).status, 401)
        for title, bad in (
            ("not a JWT", "invalid"),
            ("another signature", f"{header}.{payload}.{flipped}"),
            ("no signature", f"{header}.{payload}."),
            ("algorithm none", f"{unsigned}.{payload}."),
        ):
            expect(title, self._authorize(f"Bearer {bad}").status, 403)

    def _token(self, grant: str) -> str:
        form = {"grant_type": grant, "client_id": "self-test", "client_secret": "any", "code": "any"}
        if grant == "client_credentials":
            form["scope"] = "any"
        answer = self._oauth("POST", f"/{ISSUER_NAME}/token", urllib.parse.urlencode(form))
        if answer.status != 200:
            raise ExpectationError(f"{grant}: HTTP status {answer.status}: {answer.body[:200]!r}")
        token: str = answer.json()["access_token"]
        return token

    def _oauth(self, method: str, path: str, form: str | None = None) -> Answer:
        # One of the two OAuth servers takes the issuer from the Host header, so it is asked as clients ask it.
        headers = {"Host": self._authority}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._ask(self._oauth_port, method, path, headers, form)

    def _authorize(self, credentials: str | None) -> Answer:
        headers = {} if credentials is None else {"Authorization": credentials}
        return self._ask(self._authorizer_port, "GET", "/authorize", headers)

    def _ask(
        self, port: int, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(self._address, port, timeout=REQUEST_SECONDS)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()


def expect(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise ExpectationError(f"{what} is {actual!r}, expected {expected!r}")


def send_and_end(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def verify(token: str, keys: dict[str, dict[str, str]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of an RS256 token whose signature is by the key it names (RFC 8017 section 8.2.2)."""
    signed, _, signature = token.rpartition(".")
    header = json.loads(decode(signed.split(".")[0]))
    key = keys.get(header.get("kid"))
    if key is None:
        raise ExpectationError("the token names a key that the key set does not have")
    modulus = int.from_bytes(decode(key["n"]), "big")
    exponent = int.from_bytes(decode(key["e"]), "big")
    length = (modulus.bit_length() + 7) // 8
    opened = pow(int.from_bytes(decode(signature), "big"), exponent, modulus).to_bytes(length, "big")
    tail = b"\x00" + SHA256_PREFIX + hashlib.sha256(signed.encode("ascii")).digest()
    if opened != b"\x00\x01" + b"\xff" * (length - 2 - len(tail)) + tail:
        raise ExpectationError("the token is not signed by the key it names")
    return header, json.loads(decode(signed.split(".")[1]))


def read_settings() -> dict[str, str]:
    settings: dict[str, str] = {}
    for path in SETTINGS:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, separator, value = line.partition("=")
            if separator and not name.startswith("#"):
                settings[name] = value
    return settings


def main() -> int:
    try:
        SelfTest(read_settings()).run()
    except (ExpectationError, OSError, http.client.HTTPException, ValueError, KeyError) as error:
        print(f"FAILED  {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("the mock servers work")
    return 0


if __name__ == "__main__":
    sys.exit(main())
