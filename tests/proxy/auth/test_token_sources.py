"""Where a token may stand: the header, the subprotocol that browsers offer, a cookie if one is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxy.auth import tokens, websocket
from tests.proxy.auth.conftest import PROVIDERS, Setting, SettingMaker

PREFIX = "base64url.bearer.authorization."
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module", params=PROVIDERS)
def setting(request: pytest.FixtureRequest, make_setting: SettingMaker) -> Iterator[Setting]:
    with make_setting(
        request.param, tokenCookie="proxy_token", sections={"limits": {"allowedOrigins": [ORIGIN]}}
    ) as made:
        yield made


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("order", ["binary, {}", "{}, binary", "chat,{},binary"])
def test_a_token_in_the_subprotocol_is_taken_and_not_echoed(setting: Setting, encoded: bool, order: str) -> None:
    token = setting.token()
    name = PREFIX + (tokens.encode(token.encode()) if encoded else token)
    answer = setting.proxy.open(protocols=order.format(name))
    assert answer.status == 101
    assert answer.headers["sec-websocket-protocol"] == "binary"
    assert websocket.echo(answer, b"hello") == b"hello"
    websocket.close(answer)


@pytest.mark.parametrize(
    ("protocols", "status", "reason"),
    [
        (f"binary, {PREFIX}bad", 403, "not a "),
        (f"binary, {PREFIX}", 401, "no token"),
        ("binary", 401, "no token"),
        (f"binary, {PREFIX}a.b.c, {PREFIX}d.e.f", 403, "more than one token in Sec-WebSocket-Protocol"),
    ],
)
def test_a_bad_token_in_the_subprotocol_is_refused(setting: Setting, protocols: str, status: int, reason: str) -> None:
    records, connections = len(setting.proxy.audit()), setting.proxy.backend.accepted
    assert setting.proxy.open(protocols=protocols).status == status
    assert setting.proxy.audited("refusal", after=records)["reason"].startswith(reason)
    assert setting.proxy.backend.accepted == connections


def test_a_token_in_two_places_is_refused(setting: Setting) -> None:
    token = setting.token()
    assert setting.proxy.open(token, protocols=f"binary, {PREFIX}{token}").status == 403


def test_a_cookie_brings_the_token_when_nothing_else_does(setting: Setting) -> None:
    cookie = ("Cookie", f"other=1; proxy_token={setting.token()}")
    answer = setting.proxy.open(fields=[cookie, ("Origin", ORIGIN)])
    assert answer.status == 101
    answer.socket.close()
    assert setting.proxy.open("bad", fields=[cookie, ("Origin", ORIGIN)]).status == 403


def test_a_cookie_of_another_page_is_of_no_use(setting: Setting) -> None:
    fields = [("Cookie", f"proxy_token={setting.token()}"), ("Origin", "https://evil.example.com")]
    connections = setting.proxy.backend.accepted
    assert setting.proxy.open(fields=fields).status == 403
    assert setting.proxy.backend.accepted == connections


def test_a_cookie_is_ignored_unless_the_settings_name_it(make_setting: SettingMaker) -> None:
    with make_setting("external") as made:
        assert made.proxy.open(fields=[("Cookie", f"token={made.token()}")]).status == 401


def test_the_subprotocol_can_be_closed(make_setting: SettingMaker) -> None:
    with make_setting("external", subprotocolToken=False) as made:
        assert made.proxy.open(protocols=f"binary, {PREFIX}{made.token()}").status == 401
