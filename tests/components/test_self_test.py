"""The self-test's own parts: tokens that are what they claim to be, a client that sees what a proxy does wrong."""

from __future__ import annotations

import base64
import hashlib
import importlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.components.component_support import COMPONENT, load_program
from tests.shipped_programs import put_on_path

SELF_TEST = COMPONENT / "self_test"
ISSUER = "http://127.0.0.1:10080/awsexample"


@pytest.fixture(autouse=True)
def package_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(monkeypatch, SELF_TEST)


def part(name: str) -> ModuleType:
    return importlib.import_module(f"proxy_self_test.{name}")


@pytest.fixture
def key(tmp_path: Path) -> Any:
    return part("tokens").SigningKey(tmp_path)


def test_good_token_is_accepted_by_its_key(key: Any) -> None:
    assert key.accepts(key.token(part("tokens").claims(ISSUER)))


def test_good_token_verifies_with_an_independent_library_and_the_published_key(key: Any) -> None:
    jwk = importlib.import_module("joserfc.jwk")
    jwt = importlib.import_module("joserfc.jwt")
    keys = jwk.KeySet.import_key_set(key.key_set())
    token = jwt.decode(key.token(part("tokens").claims(ISSUER)), keys, algorithms=["RS256"])
    assert token.claims["iss"] == ISSUER
    assert token.claims["exp"] > time.time()


def test_bad_tokens_are_refused_by_the_key(key: Any, tmp_path: Path) -> None:
    tokens = part("tokens")
    (tmp_path / "other").mkdir()
    stranger = tokens.SigningKey(tmp_path / "other")
    good = tokens.claims(ISSUER)
    assert not key.accepts(tokens.altered(key.token(good)))
    assert not key.accepts(key.token(tokens.claims(ISSUER, lifetime_seconds=-600)))
    assert not key.accepts(key.token(good, algorithm="none"))
    assert not key.accepts(stranger.token(good))
    assert not key.accepts("no.token")


def test_altered_token_differs_in_its_signature_alone(key: Any) -> None:
    tokens = part("tokens")
    good = key.token(tokens.claims(ISSUER))
    bad = tokens.altered(good)
    assert good != bad
    assert good.rsplit(".", 1)[0] == bad.rsplit(".", 1)[0]


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("bad.bad.bad", 403)])
def test_authorizer_refuses(key: Any, token: str | None, status: int) -> None:
    assert ask_authorizer(key, token) == status


def test_authorizer_lets_a_good_token_through(key: Any) -> None:
    assert ask_authorizer(key, key.token(part("tokens").claims(ISSUER))) == 204


def ask_authorizer(key: Any, token: str | None) -> int:
    servers = part("servers")
    client = importlib.import_module("httpx")
    server = servers.http_server(0, servers.authorizer_handler(key))
    with servers.running(server):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        address = f"http://127.0.0.1:{server.server_address[1]}/authorize"
        status: int = client.get(address, headers=headers, trust_env=False).status_code
        return status


# A proxy of one connection: reads the request's head, then does what the test says with the connection.
Behaviour = Callable[[ssl.SSLSocket, bytes], None]


def make_certificate(directory: Path) -> Path:
    """A self-signed pair for `localhost`: cert.pem, which is returned, and key.pem beside it."""
    directory.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return directory / "cert.pem"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path / "tls")


@pytest.fixture
def proxy(certificate: Path) -> Iterator[Callable[[Behaviour], int]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    threads: list[threading.Thread] = []

    def start(behaviour: Behaviour) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            # A client that does not trust the certificate ends the handshake.
            with (
                suppress(ssl.SSLError),
                listener,
                context.wrap_socket(listener.accept()[0], server_side=True) as connection,
            ):
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(4096)
                behaviour(connection, request)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for thread in threads:
        thread.join(timeout=10)


def upgrade(connection: ssl.SSLSocket, request: bytes) -> None:
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
    accept = base64.b64encode(hashlib.sha1(key + part("websocket").ACCEPT_SUFFIX.encode()).digest())  # noqa: S324
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def test_client_reports_the_status_of_a_refusal(proxy: Callable[[Behaviour], int], certificate: Path) -> None:
    port = proxy(lambda connection, _: connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
    with part("websocket").WebSocket(port, certificate, "token") as attempt:
        assert attempt.status == 403


def test_client_collects_a_message_over_several_frames(proxy: Callable[[Behaviour], int], certificate: Path) -> None:
    def behave(connection: ssl.SSLSocket, request: bytes) -> None:
        upgrade(connection, request)
        connection.sendall(b"\x02\x03hel" + b"\x89\x00" + b"\x80\x02lo")
        connection.recv(4096)

    with part("websocket").WebSocket(proxy(behave), certificate, "token") as session:
        assert session.receive(5) == b"hello"


def test_client_masks_what_it_sends(proxy: Callable[[Behaviour], int], certificate: Path) -> None:
    seen: list[bytes] = []

    def behave(connection: ssl.SSLSocket, request: bytes) -> None:
        upgrade(connection, request)
        seen.append(connection.recv(4096))

    with part("websocket").WebSocket(proxy(behave), certificate, "token") as session:
        session.send(b"hello")
        with pytest.raises((ConnectionError, OSError)):
            session.receive(1)
    frame = seen[0]
    assert frame[:2] == b"\x82\x85"
    assert bytes(byte ^ frame[2 + index % 4] for index, byte in enumerate(frame[6:])) == b"hello"


def test_client_does_not_take_a_close_for_data(proxy: Callable[[Behaviour], int], certificate: Path) -> None:
    def behave(connection: ssl.SSLSocket, request: bytes) -> None:
        upgrade(connection, request)
        connection.sendall(b"\x82\x02he\x88\x02\x03\xe8")

    websocket = part("websocket").WebSocket
    with websocket(proxy(behave), certificate, "token") as session, pytest.raises(ConnectionError, match="2 of 5"):
        session.receive(5)


def test_client_refuses_an_accept_that_does_not_answer_its_key(
    proxy: Callable[[Behaviour], int], certificate: Path
) -> None:
    port = proxy(lambda connection, _: connection.sendall(b"HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: x\r\n\r\n"))
    with pytest.raises(ConnectionError, match="Sec-WebSocket-Accept"):
        part("websocket").WebSocket(port, certificate, "token")


def test_client_refuses_a_certificate_that_is_not_the_machine_s(
    proxy: Callable[[Behaviour], int], tmp_path: Path
) -> None:
    other = make_certificate(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        part("websocket").WebSocket(proxy(upgrade), other, "token")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine whose jail is below tmp_path and whose systemctl only remembers what it was told."""
    module = part("machine")
    jail = tmp_path / "jail"
    (jail / "etc/nginx/certs").mkdir(parents=True)
    (jail / "etc/nginx/logs").mkdir()
    (jail / "etc/nginx/logs/http-error.log").write_text("old\n")
    environment = tmp_path / "secure-proxy" / "image.env"
    environment.parent.mkdir()
    environment.write_text(f"# built\nJAIL_BASE_DIR={jail}\nPROXY_BASE_DIR=/etc/nginx\nNGINX_BUILD=source\n")
    calls: list[tuple[str, ...]] = []

    def remember(*arguments: str, **_: bool) -> str:
        calls.append(arguments)
        return "inactive"

    monkeypatch.setattr(module, "systemctl", remember)
    monkeypatch.setattr(module, "DROP_IN", tmp_path / "run/self-test.conf")
    monkeypatch.setattr(module, "IMAGE_ENVIRONMENT", environment)
    monkeypatch.setattr(module, "INSTANCE_ENVIRONMENT", environment.with_name("instance.env"))
    monkeypatch.setattr(module, "METRICS_LOGS", tmp_path / "metrics")
    found = module.Machine(environment)
    found.calls = calls
    return found


def test_machine_is_left_as_it_was_found_also_after_a_failure(machine: Any) -> None:
    before = machine.entries()

    def fail_half_way() -> None:
        with machine.left_as_found():
            (machine.configuration / "certs/serverkey.pem").write_text("secret")
            (machine.configuration / "conf.d").mkdir()
            (machine.configuration / "conf.d/wss.conf").write_text("server {}")
            (machine.configuration / "logs/http-error.log").write_text("a token was here")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert machine.entries() == before
    assert (machine.configuration / "logs/http-error.log").read_text() == ""
    assert ("stop", "nginx.service", "secure-proxy-configure.service") in machine.calls


def test_configured_machine_is_refused(machine: Any) -> None:
    part("machine").INSTANCE_ENVIRONMENT.write_text("BACKEND_HOST=x\n")
    with pytest.raises(part("machine").SelfTestError, match="configured for service"):
        machine.refuse_when_in_service()


def test_machine_in_service_is_refused(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part("machine"), "systemctl", lambda *_, **__: "active")
    with pytest.raises(part("machine").SelfTestError, match="is active"):
        machine.refuse_when_in_service()


def test_fresh_machine_is_tested(machine: Any) -> None:
    machine.refuse_when_in_service()


def test_expectation_that_does_not_hold_ends_the_test() -> None:
    program = load_program(SELF_TEST / "self_test.py", "self_test")
    with pytest.raises(part("machine").SelfTestError, match="refused with 403; found: 101"):
        program.check(False, "a bad token is refused with 403", 101)


def test_policy_of_the_self_test_is_one_that_the_boot_configuration_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(monkeypatch, COMPONENT / "rootfs/usr/libexec/secure-proxy")
    policies = importlib.import_module("proxy_configuration.policy")
    text = part("machine").policy("openidc", ISSUER, "http://127.0.0.1:10090/authorize")
    values = {
        "NGINX_BUILD": "source",
        "BACKEND_HOST": "127.0.0.1",
        "OAUTH_BACKEND_PORT": "10080",
        "PROXY_WORKER_CONNECTIONS": "16384",
    }
    policy = policies.Policy(text, values)
    assert policy.authentication["issuers"][0]["issuer"] == ISSUER
    assert policy.authentication["issuers"][0]["algorithms"] == ["RS256"]
