"""What the workers know of each other's sessions: nothing is left of those that ended, nothing is forgotten of those
that are open, also when there is no memory for more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.auth import websocket
from tests.proxy.auth.conftest import EXTERNAL, Setting, SettingMaker
from tests.proxy.auth.issuer import Issuer, send
from tests.proxy.auth.proxy import Answer
from tests.proxy.auth.test_sessions import API, body_of, call, operator
from tests.proxy.wire import wait_until

INSPECTION = """
    location = /registry/keys {
        content_by_lua_block {
            for _, key in ipairs(ngx.shared.sessions:get_keys(0)) do ngx.say(ngx.encode_base64(key)) end
        }
    }
    location = /registry/fill {
        content_by_lua_block {
            local number = 0
            for _, size in ipairs({ 2^20, 4000, 1000, 400, 100, 1 }) do
                repeat number = number + 1
                until not ngx.shared.sessions:safe_set("filler:" .. number, ("x"):rep(size))
            end
            ngx.print(number)
        }
    }
    location = /registry/empty {
        content_by_lua_block {
            for number = 1, ngx.var.arg_number do ngx.shared.sessions:delete("filler:" .. number) end
        }
    }
    location / {
"""


def approve(handler: BaseHTTPRequestHandler) -> None:
    """An authorizer to which every token is good."""
    send(handler, b"", 200 if "Authorization" in handler.headers else 401)


@contextmanager
def inspected(make_setting: SettingMaker, **limits: int) -> Iterator[Setting]:
    """A proxy whose registry a test can look into, and fill."""
    with Issuer() as issuer:
        issuer.answers["/approve"] = approve
        url = f"http://127.0.0.1:{issuer.port}/approve"
        with make_setting(EXTERNAL, issuer=issuer, sections={"limits": limits}, authorizerUrl=url) as made:
            yield _inspectable(made)


def _inspectable(made: Setting) -> Setting:
    health = made.proxy.configuration / "conf.d/health.conf"
    health.write_text(health.read_text().replace("    location / {\n", INSPECTION, 1))
    made.proxy.renew_workers()
    return made


def keys(setting: Setting) -> set[bytes]:
    return set(setting.proxy.health("/registry/keys")[1].split())


def name_of(session: Answer) -> str:
    return session.headers["secure-proxy-session"]


def listed(setting: Setting, subject: str) -> set[str]:
    entries = body_of(call(setting, "GET", API, setting.token(sub=subject)))["sessions"]
    assert len({entry["id"] for entry in entries}) == len(entries)
    return {entry["id"] for entry in entries}


def test_nothing_is_left_of_subjects_that_have_gone(make_setting: SettingMaker) -> None:
    with inspected(make_setting, connectionsPerSubject=5, connectionsPerAddress=100) as made:
        websocket.close(made.proxy.open(made.token(sub="the first")))
        wait_until(lambda: not any(key.startswith(b"aT") for key in keys(made)), 5, "an ended session is known")  # i:
        before = keys(made)
        sessions = [made.proxy.open(made.token(sub=f"subject {number}")) for number in range(20)]
        assert len(keys(made)) >= len(before) + 80
        for session in sessions:
            websocket.close(session)
        wait_until(lambda: keys(made) == before, 5, "something is left")


def test_a_list_keeps_up_with_sessions_that_end_in_any_order(make_setting: SettingMaker) -> None:
    with inspected(make_setting) as made:
        sessions = [made.proxy.open(made.token(sub="many")) for _ in range(9)]
        for index in (4, 0, 6, 0, 3, 1):
            websocket.close(sessions.pop(index))
            wait_until(lambda: listed(made, "many") == {name_of(each) for each in sessions}, 5, "the list is another")
        sessions.append(made.proxy.open(made.token(sub="many")))
        assert listed(made, "many") == {name_of(each) for each in sessions}


def test_a_client_is_shown_at_most_a_hundred_of_its_sessions(make_setting: SettingMaker) -> None:
    with inspected(make_setting) as made:
        token = made.token(sub="many")
        sessions = [made.proxy.open(token) for _ in range(105)]
        assert len(listed(made, "many")) == 100
        for session in sessions[:10]:
            websocket.close(session)
        remaining = {name_of(session) for session in sessions[10:]}
        wait_until(lambda: listed(made, "many") == remaining, 5, "not all of fewer are shown")


@pytest.mark.parametrize("limit", [0, 50])
def test_without_memory_new_sessions_are_refused_and_open_ones_are_all_there(
    make_setting: SettingMaker, limit: int, tmp_path: Path
) -> None:
    with inspected(make_setting, connectionsPerSubject=limit) as made:
        expires = int(time.time()) + 60
        sessions = [made.proxy.open(made.token(sub="early", exp=expires)) for _ in range(4)]
        names = [name_of(session) for session in sessions]
        fillers = made.proxy.health("/registry/fill")[1].decode()
        wait_until(lambda: made.proxy.health("/readyz")[0] == 503, 5, "the proxy is still ready")
        assert made.proxy.health("/readyz")[1] == b"not ready: sessions: no memory for more\n"

        records, connections = len(made.proxy.audit()), made.proxy.backend.accepted
        assert made.proxy.open(made.token(sub="late")).status == 503
        record = made.proxy.audited("refusal", after=records)
        assert (record["rule"], record["reason"]) == ("session registry", "no memory")
        assert made.proxy.backend.accepted == connections

        assert listed(made, "early") == set(names)
        later = made.token(sub="early", exp=expires + 60)
        answer = call(made, "POST", f"{API}/{names[0]}", later)
        assert (answer.status, body_of(answer)["expires_at"]) == (200, expires + 60)
        assert operator(made, "end", "--id", names[1], tmp_path=tmp_path)["ended"] == [names[1]]
        assert websocket.wait_for_close(sessions[1])[0] == 4403
        websocket.close(sessions[2])
        wait_until(lambda: listed(made, "early") == {names[0], names[3]}, 5, "an ended session stays in the list")

        made.proxy.health(f"/registry/empty?number={fillers}")
        assert made.proxy.open(made.token(sub="late")).status == 101
        wait_until(lambda: made.proxy.health("/readyz")[0] == 200, 5, "the proxy is not ready again")


def nobody(setting: Setting, client: str) -> Any:
    return setting.token(sub=None, azp=client)


def test_tokens_without_a_subject_are_nobody_s(make_setting: SettingMaker) -> None:
    """They are not one person: they see nothing of each other, and take nothing from each other."""
    with inspected(make_setting, connectionsPerSubject=2) as made:
        sessions = [made.proxy.open(nobody(made, "client-a")) for _ in range(3)]
        assert [session.status for session in sessions] == [101] * 3
        assert made.proxy.open(nobody(made, "client-b")).status == 101
        for client in ("client-a", "client-b"):
            assert body_of(call(made, "GET", API, nobody(made, client)))["sessions"] == []
            assert call(made, "POST", f"{API}/{name_of(sessions[0])}", nobody(made, client)).status == 403
