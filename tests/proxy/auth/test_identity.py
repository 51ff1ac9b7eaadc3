"""Identity end to end: client certificates, what the OpenID Connect server and the application are told, TLS behind."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.auth import websocket
from tests.proxy.auth.authority import Authority, show_certificate
from tests.proxy.auth.conftest import Setting, SettingMaker
from tests.proxy.auth.proxy import read_all, split
from tests.proxy.backend import Backend
from tests.proxy.wire import BINARY, frame

PROVIDER = "external"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("clients"), "clients")
    authority.issue("alice", "/CN=alice/O=Example")
    authority.issue("revoked", "/CN=revoked")
    return authority


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("strangers"), "strangers")
    authority.issue("alice", "/CN=alice/O=Example")
    return authority


def with_certificate(setting: Setting, authority: Authority, file: str) -> ssl.SSLContext:
    context = setting.proxy.context()
    context.load_cert_chain(authority.directory / f"{file}.pem", authority.directory / f"{file}-key.pem")
    return context


@pytest.fixture(scope="module")
def revocations(clients: Authority) -> str:
    return clients.revoke("revoked")


@pytest.fixture(scope="module", params=["optional", "required"])
def mutual(
    request: pytest.FixtureRequest, make_setting: SettingMaker, clients: Authority, revocations: str
) -> Iterator[Setting]:
    certificates = {
        "mode": request.param,
        "caCertificates": [clients.pem("ca")],
        "revocationLists": [revocations],
    }
    with make_setting(PROVIDER, clientCertificates=certificates) as made:
        yield made


def mode_of(setting: Setting) -> str:
    mode: str = setting.proxy.situation.authentication["clientCertificates"]["mode"]
    return mode


def test_a_session_s_identity_has_both_parts(mutual: Setting, clients: Authority) -> None:
    records = len(mutual.proxy.audit())
    answer = mutual.proxy.open(mutual.token(), context=with_certificate(mutual, clients, "alice"))
    assert answer.status == 101
    record = mutual.proxy.audited("opening", after=records)
    assert record["subject"] == "alice"
    assert "CN=alice" in record["client_certificate"]["subject"]
    websocket.close(answer)


def test_a_certificate_does_not_replace_the_token(mutual: Setting, clients: Authority) -> None:
    assert mutual.proxy.open(context=with_certificate(mutual, clients, "alice")).status == 401


def test_without_a_certificate_the_mode_decides(mutual: Setting) -> None:
    records, connections = len(mutual.proxy.audit()), mutual.proxy.backend.accepted
    answer = mutual.proxy.open(mutual.token())
    if mode_of(mutual) == "optional":
        assert answer.status == 101
        answer.socket.close()
    else:
        assert answer.status == 403
        assert mutual.proxy.audited("refusal", after=records)["rule"] == "authentication.clientCertificates"
        assert mutual.proxy.backend.accepted == connections


@pytest.mark.parametrize("which", ["revoked", "stranger"])
def test_a_certificate_that_is_not_accepted_is_refused_in_every_mode(
    mutual: Setting, clients: Authority, strangers: Authority, which: str
) -> None:
    authority, file = (clients, "revoked") if which == "revoked" else (strangers, "alice")
    records, connections = len(mutual.proxy.audit()), mutual.proxy.backend.accepted
    answer = mutual.proxy.open(mutual.token(), context=with_certificate(mutual, authority, file))
    assert answer.status == 403
    record = mutual.proxy.audited("refusal", after=records)
    assert (record["status"], record["rule"]) == (403, "authentication.clientCertificates")
    assert mutual.proxy.backend.accepted == connections


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_connection_does_not_outlive_its_certificate(
    make_setting: SettingMaker, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = Authority(tmp_path, "clients")
    authority.issue("alice", "/CN=alice")
    certificates = {"mode": "optional", "caCertificates": [authority.pem("ca")]}
    with make_setting(
        PROVIDER, clientCertificates={**certificates, "revocationLists": [authority.revocations()]}
    ) as made:
        context = with_certificate(made, authority, "alice")
        context.minimum_version = context.maximum_version = version

        def status(former: ssl.SSLSession | None = None) -> tuple[int, ssl.SSLSession | None]:
            plain = socket.create_connection((made.proxy.host, made.proxy.wss_port), timeout=15)
            with context.wrap_socket(plain, server_hostname=made.proxy.host, session=former) as client:
                client.sendall(b"GET /.secure-proxy/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                               b"Authorization: Bearer " + made.token().encode() + b"\r\n\r\n")  # fmt: skip
                return split(read_all(client))[0], client.session

        answered, session = status()
        assert answered == 200
        made.proxy.reload(clientCertificates={**certificates, "revocationLists": [authority.revoke("alice")]})
        assert status()[0] == 403
        assert status(session)[0] == 403


def test_identity_headers_are_ours_and_never_the_client_s(mutual: Setting, clients: Authority) -> None:
    forged = [
        (name, "forged")
        for name in ("X-Forwarded-For", "X-Real-IP", "X-Client-Certificate-Subject", "X-Client-Certificate-Verified",
                     "x-client-certificate-serial", "X-Auth-Subject", "Forwarded", "X-Forwarded-User", "X-Request-Id")
    ]  # fmt: skip
    context = with_certificate(mutual, clients, "alice")
    answer = mutual.proxy.request("POST", "/token", forged, port=mutual.proxy.oauth_port, body=b"a=b", context=context)
    assert answer.status == 200
    path, headers, _ = mutual.issuer.requests[-1]
    assert path == "/awsexample/token"
    assert "forged" not in str(headers)
    seen = {name.lower(): value for name, value in headers.items()}
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-client-certificate-verified"] == "yes"
    assert "CN=alice" in seen["x-client-certificate-subject"]


def test_parameters_of_a_token_request_in_the_query_are_refused(mutual: Setting, clients: Authority) -> None:
    context = with_certificate(mutual, clients, "alice")
    answer = mutual.proxy.request("POST", "/token?client_secret=x", [], port=mutual.proxy.oauth_port, context=context)
    assert answer.status == 400


def proxy_header(connection: Any) -> tuple[dict[str, Any], dict[int, str]]:
    """A PROXY protocol version 2 header: addresses, and fields by type."""
    head = exactly(connection, 16)
    assert head[:12] == SIGNATURE
    assert head[12:14] == b"\x21\x11"
    body = exactly(connection, struct.unpack("!H", head[14:])[0])
    source, destination, source_port, destination_port = struct.unpack("!4s4sHH", body[:12])
    fields, position = {}, 12
    while position < len(body):
        kind, length = struct.unpack("!BH", body[position : position + 3])
        fields[kind] = body[position + 3 : position + 3 + length].decode()
        position += 3 + length
    addresses = {
        "source": ".".join(map(str, source)), "source_port": source_port,
        "destination": ".".join(map(str, destination)), "destination_port": destination_port,
    }  # fmt: skip
    return addresses, fields


def exactly(connection: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        assert chunk, f"the proxy closed after {len(data)} of {count} bytes"
        data += chunk
    return data


def take_connection(backend: Backend) -> Any:
    """The application's connection for a session, past those that only /readyz made."""
    while True:
        connection = backend.accept()
        connection.setblocking(True)
        connection.settimeout(2)
        peek = connection.recv(1, 2)  # MSG_PEEK
        if peek:
            return connection
        connection.close()


def test_the_application_is_told_who_the_client_is(make_setting: SettingMaker) -> None:
    with make_setting(PROVIDER, sections={"application": {"proxyProtocol": True}}) as made:
        made.proxy.backend.behaviour = None
        answer = made.proxy.open(made.token(sub="zoe"), source="127.0.0.3")
        client_port = answer.socket.getsockname()[1]
        connection = take_connection(made.proxy.backend)
        addresses, fields = proxy_header(connection)
        assert (addresses["source"], addresses["source_port"]) == ("127.0.0.3", client_port)
        assert addresses["destination_port"] == made.proxy.wss_port
        assert fields[0xE0] == "zoe"
        assert fields[0xE1] == made.issuer.url
        assert fields[0x05] == answer.headers["secure-proxy-session"]
        websocket_payload = b"after the header"

        answer.socket.sendall(frame(BINARY, websocket_payload))
        assert exactly(connection, len(websocket_payload)) == websocket_payload
        connection.close()
        answer.socket.close()


@pytest.fixture(scope="module")
def servers_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("servers"), "servers")
    authority.issue("application", "/CN=application", "DNS:application.test")
    return authority


def tls_echo(authority: Authority, demand: Authority | None = None) -> Any:
    """An application that speaks TLS, and asks for a certificate of `demand`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.directory / "application.pem", authority.directory / "application-key.pem")
    if demand:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(demand.directory / "ca.pem")

    def behave(connection: Any) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            while data := secure.recv(65536):
                secure.sendall(data)

    return behave


@pytest.mark.parametrize(
    ("name", "trusted", "status"),
    [("application.test", True, 101), ("other.test", True, 502), ("application.test", False, 502)],
)
def test_tls_to_the_application_is_verified(
    make_setting: SettingMaker,
    servers_authority: Authority,
    strangers: Authority,
    name: str,
    trusted: bool,
    status: int,
) -> None:
    authority = servers_authority if trusted else strangers
    application = {"tls": True, "serverName": name, "caCertificates": [authority.pem("ca")]}
    with make_setting(PROVIDER, sections={"application": application}) as made:
        made.proxy.backend.behaviour = tls_echo(servers_authority)
        answer = made.proxy.open(made.token())
        assert answer.status == status, made.proxy.log("http-error.log")
        if status == 101:
            payload = bytes(range(256)) * 150
            assert websocket.echo(answer, payload) == payload
            websocket.close(answer)


def test_a_client_certificate_is_shown_to_the_application(
    make_setting: SettingMaker, servers_authority: Authority, clients: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_certificate(monkeypatch, "backend", clients, "alice")
    application = {
        "tls": True,
        "serverName": "application.test",
        "caCertificates": [servers_authority.pem("ca")],
        "clientCertificate": True,
    }
    with make_setting(PROVIDER, sections={"application": application}) as made:
        made.proxy.backend.behaviour = tls_echo(servers_authority, demand=clients)
        answer = made.proxy.open(made.token())
        assert answer.status == 101
        assert websocket.echo(answer, b"mutual") == b"mutual"
        websocket.close(answer)
