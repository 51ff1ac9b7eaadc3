"""The instance metadata service, version 2."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from local.imds import Metadata, Tokens, serve

LOOPBACK = IPv4Address("127.0.0.1")
TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


class Service:
    """A running service to ask."""

    def __init__(self, user_data: str | None) -> None:
        metadata = Metadata("i-1", "ami-1", "10.213.7.10", user_data=user_data)
        self.server = serve(metadata, LOOPBACK, 0)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=5)
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def token(self) -> dict[str, str]:
        status, token = self.ask("PUT", "/latest/api/token", {TTL: "60"})
        assert status == 200
        return {TOKEN: token}


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service("BACKEND_HOST=x\n")
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_user_data_is_given_with_a_token(service: Service) -> None:
    assert service.ask("GET", "/latest/user-data", service.token()) == (200, "BACKEND_HOST=x\n")


@pytest.mark.parametrize("headers", [{}, {TOKEN: ""}, {TOKEN: "guessed"}])
def test_nothing_is_given_without_a_token(service: Service, headers: dict[str, str]) -> None:
    assert service.ask("GET", "/latest/user-data", headers) == (401, "")


@pytest.mark.parametrize("seconds", ["", "0", "21601", "-1", "ten", "1e3"])
def test_a_token_needs_a_time_that_aws_allows(service: Service, seconds: str) -> None:
    assert service.ask("PUT", "/latest/api/token", {TTL: seconds})[0] == 400


def test_a_token_request_without_a_time_is_refused(service: Service) -> None:
    assert service.ask("PUT", "/latest/api/token")[0] == 400


def test_a_forwarded_token_request_is_refused(service: Service) -> None:
    assert service.ask("PUT", "/latest/api/token", {TTL: "60", "X-Forwarded-For": "10.0.0.1"})[0] == 403


def test_a_token_is_not_given_by_get(service: Service) -> None:
    assert service.ask("GET", "/latest/api/token", {TTL: "60"})[0] == 401


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("instance-id", "i-1"),
        ("local-ipv4", "10.213.7.10"),
        ("placement/region", "local"),
        ("placement/", "availability-zone\nregion"),
    ],
)
def test_metadata_are_given(service: Service, path: str, text: str) -> None:
    assert service.ask("GET", f"/latest/meta-data/{path}", service.token()) == (200, text)


def test_the_list_of_metadata_marks_folders(service: Service) -> None:
    listing = service.ask("GET", "/latest/meta-data/", service.token())[1].splitlines()
    assert {"instance-id", "placement/"} <= set(listing)


def test_an_unknown_path_is_not_found(service: Service) -> None:
    assert service.ask("GET", "/latest/meta-data/iam/", service.token())[0] == 404


def test_an_unsupported_method_is_refused(service: Service) -> None:
    assert service.ask("POST", "/latest/user-data", service.token())[0] == 501


def test_user_data_that_was_not_given_is_not_found() -> None:
    running = Service(None)
    assert running.ask("GET", "/latest/user-data", running.token())[0] == 404
    running.server.shutdown()
    running.server.server_close()


def test_a_token_ends_with_its_time() -> None:
    now = 100.0
    tokens = Tokens(lambda: now)
    token = tokens.issue(60)
    now = 159.9
    assert tokens.valid(token)
    now = 160.0
    assert not tokens.valid(token)


def test_the_log_holds_no_token(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    token = service.token()
    service.ask("GET", "/latest/user-data", token)
    log = capfd.readouterr().err
    assert "GET /latest/user-data" in log
    assert token[TOKEN] not in log
