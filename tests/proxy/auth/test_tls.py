"""TLS to the identity provider, on all three ways to it: signing keys, the OAuth listener, the authorizer. Whoever
cannot prove to be the provider opens nothing and is told nothing.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.proxy.auth import issuer as behaviours
from tests.proxy.auth import tokens
from tests.proxy.auth.authority import Authority, show_certificate
from tests.proxy.auth.conftest import EXTERNAL, OPENIDC, Setting, SettingMaker
from tests.proxy.auth.issuer import Issuer
from tests.proxy.auth.names import NameServer

HOST = "oidc.test"
# What the server shows, and whether it is to be believed.
CERTIFICATES = {
    "good": True,
    "of another authority": False,
    "of another name": False,
    "expired": False,
    "self-signed": False,
}
KEY_SET, LISTENER, AUTHORIZER = "key set", "OAuth listener", "authorizer"
WAYS = [LISTENER, AUTHORIZER, pytest.param(KEY_SET, marks=pytest.mark.source)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that the settings name."""
    made = Authority(tmp_path_factory.mktemp("providers"), "providers")
    made.issue("good", "/CN=oidc", f"DNS:{HOST}")
    made.issue("of another name", "/CN=oidc", "DNS:other.test")
    made.issue("expired", "/CN=oidc", f"DNS:{HOST}")
    made.expire("expired")
    made.issue_self_signed("self-signed", f"DNS:{HOST}")
    made.issue("proxy", "/CN=proxy")
    return made


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A real one, with a certificate for the right name, that nobody here asked to vouch for it."""
    made = Authority(tmp_path_factory.mktemp("others"), "others")
    made.issue("of another authority", "/CN=oidc", f"DNS:{HOST}")
    return made


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    with NameServer() as server:
        yield server.address


def server_context(authority: Authority, certificate: str, demand: Authority | None = None) -> ssl.SSLContext:
    """TLS of the provider; with `demand` it asks for a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.directory / f"{certificate}.pem", authority.directory / f"{certificate}-key.pem")
    if demand:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(demand.directory / "ca.pem")
    return context


def authorize(handler: BaseHTTPRequestHandler) -> None:
    """An authorizer that accepts every token."""
    accepted = "Authorization" in handler.headers
    behaviours.send(handler, b"", 204 if accepted else 401, **({"X-Auth-Subject": "alice"} if accepted else {}))


@contextmanager
def provider(
    make_setting: SettingMaker, way: str, tls: ssl.SSLContext, names: str, **oauth_server: Any
) -> Iterator[Setting]:
    """A proxy whose identity provider speaks TLS, and tokens are verified in the given way."""
    with Issuer(tls=tls, host=HOST) as issuer:
        issuer.answers["/authorize"] = authorize
        more = {} if way == KEY_SET else {"authorizerUrl": f"https://{HOST}:{issuer.port}/authorize"}
        with make_setting(
            OPENIDC if way == KEY_SET else EXTERNAL,
            issuer=issuer,
            names=names,
            image={"BACKEND_HOST": HOST},
            sections={"authentication": {"issuer": issuer.url}, "oAuthServer": {"tls": True, **oauth_server}},
            ready=False,
            **more,
        ) as made:
            yield made


def attempt(setting: Setting, way: str) -> int:
    """The status of what needs the provider."""
    if way == LISTENER:
        return setting.proxy.request("GET", "/configuration", [], port=setting.proxy.oauth_port).status
    answer = setting.proxy.open(setting.token())
    answer.socket.close()
    return answer.status


ACCEPTED = {LISTENER: 200, AUTHORIZER: 101, KEY_SET: 101}
REFUSED = {LISTENER: 502, AUTHORIZER: 503, KEY_SET: 503}


@pytest.mark.parametrize("certificate", CERTIFICATES)
@pytest.mark.parametrize("way", WAYS)
def test_the_provider_s_certificate_is_verified(
    make_setting: SettingMaker,
    authority: Authority,
    other_authority: Authority,
    names: str,
    way: str,
    certificate: str,
) -> None:
    holder = other_authority if certificate == "of another authority" else authority
    context = server_context(holder, certificate)
    with provider(make_setting, way, context, names, caCertificates=[authority.pem("ca")]) as made:
        connections = made.proxy.backend.accepted
        if CERTIFICATES[certificate]:
            assert attempt(made, way) == ACCEPTED[way], made.proxy.log("http-error.log")
            return
        assert attempt(made, way) == REFUSED[way]
        assert made.issuer.requests == [], "a server that is not believed must be told nothing"
        assert made.proxy.backend.accepted == connections
        record = made.proxy.audited("refusal")
        assert record["status"] == REFUSED[way]
        assert way == LISTENER or record["rule"] == "verifier"


@pytest.mark.parametrize("way", WAYS)
def test_public_authorities_vouch_for_the_provider_unless_others_are_named(
    make_setting: SettingMaker, authority: Authority, names: str, way: str
) -> None:
    with provider(make_setting, way, server_context(authority, "good"), names) as made:
        assert attempt(made, way) == REFUSED[way]
        assert made.issuer.requests == []


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_provider_that_demands_a_certificate_is_shown_ours(
    make_setting: SettingMaker,
    monkeypatch: pytest.MonkeyPatch,
    authority: Authority,
    names: str,
    way: str,
    shown: bool,
) -> None:
    show_certificate(monkeypatch, "oidc", authority, "proxy")
    context = server_context(authority, "good", demand=authority)
    settings = {"caCertificates": [authority.pem("ca")], "clientCertificate": shown}
    with provider(make_setting, way, context, names, **settings) as made:
        assert attempt(made, way) == (ACCEPTED if shown else REFUSED)[way], made.proxy.log("http-error.log")


def test_the_listener_asks_for_the_server_by_the_name_of_the_settings(
    make_setting: SettingMaker, authority: Authority, names: str
) -> None:
    seen: list[str | None] = []
    context = server_context(authority, "of another name")
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    settings = {"caCertificates": [authority.pem("ca")], "serverName": "other.test"}
    with provider(make_setting, LISTENER, context, names, **settings) as made:
        assert attempt(made, LISTENER) == 200
        assert "other.test" in seen


@pytest.mark.source
def test_a_refresh_that_a_client_caused_trusts_the_provider_s_authorities_and_not_the_application_s(
    make_setting: SettingMaker, authority: Authority, other_authority: Authority, names: str
) -> None:
    """The listener of sessions has the application's authorities; what it sets off must not inherit them."""
    context = server_context(authority, "good")
    with provider(make_setting, KEY_SET, context, names, caCertificates=[authority.pem("ca")]) as made:
        made.proxy.situation.sections = {
            **made.proxy.situation.sections, "application": {"caCertificates": [other_authority.pem("ca")]}
        }  # fmt: skip
        made.proxy.reload()
        assert attempt(made, KEY_SET) == 101
        fresh = tokens.RsaKey("rotated")
        made.issuer.keys.append(fresh)
        token = tokens.token(fresh, tokens.claims(made.issuer.url))
        _eventually(lambda: made.proxy.open(token).status == 101)


def _eventually(holds: Callable[[], bool], within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_certificates_that_do_not_exist_stop_the_boot(
    make_setting: SettingMaker, authority: Authority, names: str
) -> None:
    settings = {"caCertificates": [authority.pem("ca")], "clientCertificate": True}
    with (
        pytest.raises(Exception, match=r"oidc-client\.pem does not exist"),
        provider(make_setting, LISTENER, server_context(authority, "good"), names, **settings),
    ):
        pass
