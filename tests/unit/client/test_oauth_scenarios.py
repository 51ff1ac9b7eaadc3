"""Scenarios 1 and 2 of `e2e`: an OAuth listener that is wrong in one way at a time."""

from __future__ import annotations

import base64
import json

import pytest

from tests.unit.client.behaviour import ISSUER, Behaviour
from tests.unit.client.conftest import RunClient, StartProxy
from tests.unit.client.outcome import assert_failed


def unsigned(claims: dict[str, object]) -> str:
    """A JWT with these claims and a signature that nobody made."""

    def encode(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{encode({'alg': 'RS256'})}.{encode(claims)}.{encode('signature')}"


# Scenario 1: configuration


@pytest.mark.parametrize(
    "issuer",
    [
        "http://idp.example/other",
        "http://idp.example/awsexample2",
        "http://idp.example/awsexample/other",
        "http://awsexample",
        "awsexample",
        "ftp://idp.example/awsexample",
        "http://user@idp.example/awsexample",
        "http://idp.example:port/awsexample",
        "http://idp.example/x?y=/awsexample",
        "",
    ],
)
def test_another_issuer_fails(start_proxy: StartProxy, run_client: RunClient, issuer: str) -> None:
    outcome = run_client(start_proxy(Behaviour(issuer=issuer)), "e2e")
    assert_failed(outcome, "configuration", f"received: '{issuer}'")
    assert "awsexample" in outcome.out


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}?", "http://other.example/awsexample"])
def test_an_issuer_that_is_not_exactly_the_named_one_fails(
    start_proxy: StartProxy, run_client: RunClient, issuer: str
) -> None:
    outcome = run_client(start_proxy(Behaviour(issuer=issuer)), "e2e", "--issuer", ISSUER)
    assert_failed(outcome, "configuration", f"received: '{issuer}'")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://elsewhere.example:10080/awsexample/token",
        "https://mock-servers.secure-proxy.internal:10080/awsexample/token",
        "http://mock-servers.secure-proxy.internal:10081/awsexample/token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample2/token",
        "http://mock-servers.secure-proxy.internal:10080/token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/../token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/%2e%2e/token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/%2e%2e%2ftoken",
        "http://mock-servers.secure-proxy.internal:10080@elsewhere.example/awsexample/token",
        "/awsexample/token",
        7,
    ],
)
@pytest.mark.parametrize("options", [(), ("--issuer", ISSUER)])
def test_an_endpoint_that_is_not_under_the_issuer_fails(
    start_proxy: StartProxy, run_client: RunClient, endpoint: object, options: tuple[str, ...]
) -> None:
    proxy = start_proxy(Behaviour(configuration={"token_endpoint": endpoint}))
    outcome = run_client(proxy, "e2e", *options)
    assert_failed(outcome, "configuration", f"received: {endpoint!r}")
    assert "expected: token_endpoint under the issuer" in outcome.out


def test_every_endpoint_is_checked_not_only_the_known_ones(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(configuration={"userinfo_endpoint": "https://elsewhere.example/awsexample/me"}))
    assert_failed(run_client(proxy, "e2e"), "configuration", "elsewhere.example")


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_a_missing_endpoint_fails(start_proxy: StartProxy, run_client: RunClient, name: str) -> None:
    proxy = start_proxy(Behaviour(configuration={name: None}))
    assert_failed(run_client(proxy, "e2e"), "configuration", "a configuration without it")


@pytest.mark.parametrize(
    ("status", "body", "received"),
    [
        (500, b"oops", "HTTP 500"),
        (302, b"{}", "HTTP 302"),
        (204, b"", "HTTP 204"),
        (200, b"<html>", "<html>"),
        (200, b"[]", "[]"),
        (200, b"\xff\xfe", "\\xff"),
        (200, b"[" * 100_000, "[[["),
        (200, b'"' + b"x" * 2_000_000 + b'"', "a longer one"),
    ],
)
@pytest.mark.parametrize(("path", "scenario"), [("/configuration", "configuration"), ("/token", "token")])
def test_an_unusable_answer_of_the_oauth_listener_fails(
    start_proxy: StartProxy, run_client: RunClient, path: str, scenario: str, status: int, body: bytes, received: str
) -> None:
    outcome = run_client(start_proxy(Behaviour(answers={path: (status, body)})), "e2e")
    assert_failed(outcome, scenario, received)


# Scenario 2: token


def test_a_token_of_another_issuer_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(claims={"iss": "http://other.example/awsexample"}))
    assert_failed(run_client(proxy, "e2e"), "token", "iss 'http://other.example/awsexample'")


@pytest.mark.parametrize("exp", [None, "tomorrow", True, float("inf"), 10**400])
def test_a_token_without_an_expiry_fails(start_proxy: StartProxy, run_client: RunClient, exp: object) -> None:
    proxy = start_proxy(Behaviour(token_answer={"access_token": unsigned({"iss": ISSUER, "exp": exp})}))
    assert_failed(run_client(proxy, "e2e"), "token", "without a numeric exp")


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        ({"access_token": None}, "an answer without it"),
        ({"access_token": 5}, "an answer without it"),
        ({"access_token": "opaque"}, "not three base64url segments"),
        ({"access_token": "a.b\x1b[2J.c"}, "not three base64url segments"),
        ({"access_token": "e30.e30."}, "not three base64url segments"),
        ({"access_token": "AAAA.e30.AAAA"}, "the header is not a JSON object"),
        ({"access_token": "e30.W10.AAAA"}, "the claims is not a JSON object"),
        ({"access_token": "e30.e30.A"}, "the signature is not base64url"),
        ({"token_type": "mac"}, "'mac'"),
        ({"token_type": None}, "None"),
    ],
)
def test_an_answer_without_a_usable_token_fails(
    start_proxy: StartProxy, run_client: RunClient, answer: dict[str, object], received: str
) -> None:
    assert_failed(run_client(start_proxy(Behaviour(token_answer=answer)), "e2e"), "token", received)


def test_the_token_type_is_case_insensitive(start_proxy: StartProxy, run_client: RunClient) -> None:
    assert run_client(start_proxy(Behaviour(token_answer={"token_type": "bearer"})), "e2e").code == 0
