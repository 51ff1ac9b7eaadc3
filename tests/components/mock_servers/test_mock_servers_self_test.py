"""The image's own test passes on working servers, and fails for each thing that it is there to catch."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from .conftest import authorizer_asking, oauth_server_in, wait_until_ready
from .key_server import KeyServer, answer, answering
from .support import ADDRESS, BACKEND_HOST, LIBEXEC, Server, SigningKey, decode

Run = Callable[..., subprocess.CompletedProcess[str]]
DRIVER = """
import importlib.util, pathlib, sys
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("self_test", sys.argv[1])
self_test = importlib.util.module_from_spec(spec)
spec.loader.exec_module(self_test)
self_test.SETTINGS = (pathlib.Path(sys.argv[2]),)
self_test.READY_SECONDS = 3.0
self_test.REQUEST_SECONDS = 3
sys.exit(self_test.main())
"""


@pytest.fixture(scope="module")
def ports(node: str, servers: Path, echo: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    directory = tmp_path_factory.mktemp("self-test")
    with oauth_server_in(node, servers, directory) as oauth:
        key_set_url = f"{oauth.url}/awsexample/jwks"
        authorizer = authorizer_asking(node, servers, directory, key_set_url, OAUTH_SERVER_PORT=str(oauth.port))
        with authorizer:
            wait_until_ready(authorizer)
            yield {
                "TCP_SERVER_PORT": echo.port,
                "OAUTH_SERVER_PORT": oauth.port,
                "AUTHORIZER_PORT": authorizer.port,
            }


@pytest.fixture
def run(tmp_path: Path, ports: Mapping[str, int]) -> Run:
    def self_test(**changes: object) -> subprocess.CompletedProcess[str]:
        settings = {"BACKEND_HOST": BACKEND_HOST, **ports, **changes}
        file = tmp_path / "settings.env"
        file.write_text("# comment\n" + "".join(f"{name}={value}\n" for name, value in settings.items()))
        command = [sys.executable, "-I", "-c", DRIVER, str(LIBEXEC / "self_test.py"), str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return self_test


def assert_fails(outcome: subprocess.CompletedProcess[str], message: str) -> None:
    assert outcome.returncode == 1
    assert message in outcome.stderr


def test_passes_on_working_servers(run: Run) -> None:
    outcome = run()
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.endswith("the mock servers work\n")


@contextmanager
def tcp_server(change: Callable[[bytes], bytes]) -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65_536):
                self.request.sendall(change(data))

    with socketserver.ThreadingTCPServer((ADDRESS, 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "change",
    [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-1], lambda data: data + b"x"],
    ids=["a flipped bit", "a byte less", "a byte more"],
)
def test_fails_when_the_echo_is_altered(run: Run, change: Callable[[bytes], bytes]) -> None:
    with tcp_server(change) as port:
        assert_fails(run(TCP_SERVER_PORT=port), "bytes came back")


def test_fails_when_discovery_names_another_issuer(run: Run) -> None:
    assert_fails(run(BACKEND_HOST="another.example"), "issuer is ")


def test_fails_when_a_server_is_not_there(run: Run) -> None:
    assert_fails(run(AUTHORIZER_PORT=9), "not ready within")


def test_fails_when_the_oauth_server_answers_errors(run: Run) -> None:
    with KeyServer() as server:
        server.behave = answering(500)
        assert_fails(run(OAUTH_SERVER_PORT=server.port), "OAuth server is 500, expected 200")


def believe(request: BaseHTTPRequestHandler) -> None:
    """An authorizer that reads tokens and verifies nothing."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not token and request.path == "/authorize":
        answer(request, 401)
        return
    try:
        claims = json.loads(decode(token.split(".")[1]))
    except (IndexError, ValueError):
        answer(request, 200 if request.path == "/healthz" else 403)
    else:
        answer(request, 200, **{"X-Auth-Subject": claims["sub"], "X-Auth-Expires": str(claims["exp"])})


def test_fails_when_the_authorizer_verifies_nothing(run: Run) -> None:
    with KeyServer() as server:
        server.behave = believe
        assert_fails(run(AUTHORIZER_PORT=server.port), "another signature is 200, expected 403")


def test_fails_when_the_authorizer_knows_other_keys(
    run: Run, node: str, servers: Path, tmp_path: Path, ports: Mapping[str, int]
) -> None:
    with KeyServer(SigningKey("other").jwk) as keys:
        oauth_port = str(ports["OAUTH_SERVER_PORT"])
        authorizer = authorizer_asking(node, servers, tmp_path, keys.url, OAUTH_SERVER_PORT=oauth_port)
        with authorizer:
            wait_until_ready(authorizer)
            assert_fails(run(AUTHORIZER_PORT=authorizer.port), "good token: HTTP status 403, unknown key id")
