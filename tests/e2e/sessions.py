"""What an outside client needs to talk to a deployment: a token, a verified TLS context, a session."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from urllib.parse import urlencode

import websockets.sync.client
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from local.deployment import PROXY, Deployment


def tls(deployment: Deployment) -> ssl.SSLContext:
    """Trusts the certificates of the deployed proxies and nothing else."""
    return ssl.create_default_context(cafile=str(deployment.trust_file()))


def token(deployment: Deployment) -> str:
    """A token from the mock OAuth server, fetched through the proxy."""
    record = deployment.record
    connection = HTTPSConnection(str(record.listen), record.ports.oauth, context=tls(deployment), timeout=10)
    try:
        form = urlencode({"grant_type": "client_credentials", "client_id": "test", "client_secret": "test"})
        connection.request("POST", "/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, (response.status, body)
    finally:
        connection.close()
    answer: dict[str, str] = json.loads(body)
    return answer["access_token"]


def connect(deployment: Deployment, *, bearer: str | None = None) -> Connection:
    """An open session through the public load balancer; `bearer` defaults to a fresh token."""
    record = deployment.record
    return websockets.sync.client.connect(
        f"wss://{record.listen}:{record.ports.wss}/",
        ssl=tls(deployment),
        subprotocols=[Subprotocol("binary")],
        additional_headers={"Authorization": f"Bearer {token(deployment) if bearer is None else bearer}"},
        max_size=None,
        compression=None,
        open_timeout=10,
        close_timeout=10,
    )


def receive(session: Connection, length: int, timeout: float = 60) -> bytes:
    """The next `length` bytes of the stream, however the server framed them."""
    deadline = time.monotonic() + timeout
    parts, got = [], 0
    while got < length:
        message = session.recv(timeout=max(0.1, deadline - time.monotonic()))
        assert isinstance(message, bytes), "the bridge sends binary messages"
        parts.append(message)
        got += len(message)
    return b"".join(parts)


def readyz(deployment: Deployment, machine: str | None = None) -> tuple[int, str]:
    """Status and body of a proxy's /readyz, asked on the machine itself."""
    proxy = deployment.machine(machine) if machine else deployment.with_role(PROXY)[0]
    url = f"http://127.0.0.1:{deployment.record.ports.health}/readyz"
    done = proxy.run(["curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}", url])
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true in that time; an exception of the network counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return True
        except (OSError, AssertionError, websockets.exceptions.WebSocketException):
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
