"""The reference authorizer of the mock-servers image, running on loopback for provider `external`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components.mock_servers.support import START_SECONDS, Server
from tests.ports import free_port
from tests.proxy.auth.issuer import Issuer


@contextmanager
def reference_authorizer(node: str, servers: Path, directory: Path, issuer: Issuer) -> Iterator[Server]:
    """An authorizer that takes its keys from `issuer`; ready when this returns."""
    port = free_port()
    environment = {
        "AUTHORIZER_PORT": str(port),
        "BACKEND_HOST": "127.0.0.1",
        "OAUTH_SERVER_PORT": str(issuer.port),
        "KEY_SET_URL": f"http://127.0.0.1:{issuer.port}{issuer.key_set_path}",
        # Keys are asked for often here, so that tests of rotation need not wait.
        "KEY_SET_REFRESH_MS": "1000",
        "KEY_SET_COOLDOWN_MS": "500",
    }
    with Server([node, str(servers / "authorizer.mjs")], port, environment, directory / "authorizer.log") as server:
        deadline = time.monotonic() + START_SECONDS
        while server.get("/healthz").status_code != 200:
            assert time.monotonic() < deadline, f"the authorizer has no keys: {server.log}"
            time.sleep(0.05)
        yield server
