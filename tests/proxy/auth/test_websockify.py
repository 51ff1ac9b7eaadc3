"""Bridge `websockify`: the third-party module carries the bytes, and a session is tied to its token all the same."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.proxy.auth import websocket
from tests.proxy.auth.conftest import OPENIDC, Setting, SettingMaker
from tests.proxy.auth.proxy import Answer
from tests.proxy.auth.test_sessions import API, call, fill, make_setting_on_small_disk, operator
from tests.proxy.backend import echo, flood
from tests.proxy.wire import BINARY, CLOSE, frame

pytestmark = pytest.mark.source


@pytest.fixture(scope="module")
def setting(make_setting: SettingMaker) -> Iterator[Setting]:
    with make_setting(OPENIDC, image={"BRIDGE": "websockify"}) as made:
        yield made


def test_sessions_of_the_websockify_bridge_are_admitted_and_audited_too(make_setting: SettingMaker) -> None:
    limits = {"connectionsPerSubject": 1}
    with make_setting(OPENIDC, image={"BRIDGE": "websockify"}, sections={"limits": limits}) as made:
        assert made.proxy.open("bad").status == 403
        session = made.proxy.open(made.token())
        assert session.status == 101
        assert websocket.echo(session, b"hello") == b"hello"
        assert made.proxy.audited("opening")["subject"] == "alice"
        assert made.proxy.open(made.token()).status == 429
        session.socket.close()
        assert made.proxy.audited("end")["id"] == made.proxy.audited("opening")["id"]
        assert made.proxy.open(made.token()).status == 101


def name_of(session: Answer) -> str:
    return session.headers["secure-proxy-session"]


def end_of(setting: Setting, session: Answer) -> dict[str, object]:
    """The session's last record."""
    deadline = time.monotonic() + 10
    while True:
        for record in setting.proxy.audit():
            if (record["event"], record["id"]) == ("end", name_of(session)):
                return record
        assert time.monotonic() < deadline, "the session has no end"
        time.sleep(0.05)


def test_a_session_is_cut_when_its_token_expires(setting: Setting) -> None:
    expires = int(time.time()) + 5
    session = setting.proxy.open(setting.token(exp=expires))
    assert websocket.echo(session, b"until then") == b"until then"
    code, when = websocket.wait_for_close(session)
    assert (code, abs(when - expires) <= 1) == (4401, True)
    record = end_of(setting, session)
    assert (record["close_code"], record["close_reason"]) == (4401, "token expired")


def test_nothing_reaches_the_application_after_the_expiry(setting: Setting) -> None:
    received = bytearray()

    def note(connection: object) -> None:
        while data := connection.recv(65536):  # type: ignore[attr-defined]
            received.extend(data)

    setting.proxy.backend.behaviour = note
    try:
        session = setting.proxy.open(setting.token(exp=int(time.time()) + 2))
        until = time.time() + 12
        with suppress(OSError):
            while time.time() < until:
                session.socket.sendall(frame(BINARY, b"early"))
                time.sleep(0.01)
        assert time.time() < until, "the client may still send"
        end_of(setting, session)
        count = len(received)
        time.sleep(0.5)
        assert (count > 0, len(received)) == (True, count)
    finally:
        setting.proxy.backend.behaviour = echo


def everything(session: Answer) -> bytes:
    """What is left to read."""
    received = bytearray()
    with suppress(OSError):
        while data := session.socket.recv(65536):
            received += data
    return bytes(received)


def frames(stream: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each frame; the last one may be cut short."""
    found, position = [], 0
    while position < len(stream):
        length = stream[position + 1] & 0x7F
        start = position + 2
        if length == 126:
            (length,) = struct.unpack_from("!H", stream, start)
            start += 2
        found.append((stream[position] & 0x0F, stream[start : start + length]))
        position = start + length
    return found


def test_clients_that_do_not_read_are_cut_and_no_frame_is_spoilt(setting: Setting) -> None:
    """Their connections are full: a close frame may find no room, and must not land inside of another frame."""
    setting.proxy.backend.behaviour = flood
    try:
        expires = int(time.time()) + 4
        sessions = [setting.proxy.open(setting.token(exp=expires)) for _ in range(8)]
        sessions[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        beginnings = [websocket.take(session, number * 7919) for number, session in enumerate(sessions)]
        for session in sessions:
            assert end_of(setting, session)["close_code"] == 4401
        sessions[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for session, beginning in zip(sessions, beginnings, strict=True):
            *data, last = frames(beginning + everything(session))
            if last != (CLOSE, b"\x11\x31token expired"):
                data.append(last)
            assert {opcode for opcode, _ in data} == {BINARY}
            assert {byte for _, payload in data for byte in payload} == {ord("f")}
    finally:
        setting.proxy.backend.behaviour = echo


def test_an_extended_session_lives_on(setting: Setting) -> None:
    expires = int(time.time()) + 3
    session = setting.proxy.open(setting.token(exp=expires))
    assert call(setting, "POST", f"{API}/{name_of(session)}", setting.token(sub="mallory")).status == 403
    assert call(setting, "POST", f"{API}/{name_of(session)}", setting.token(exp=expires + 4)).status == 200
    time.sleep(max(0, expires + 2 - time.time()))
    assert websocket.echo(session, b"still here") == b"still here"
    code, when = websocket.wait_for_close(session)
    assert (code, abs(when - expires - 4) <= 1) == (4401, True)


def test_the_maximum_age_ends_a_session(make_setting: SettingMaker) -> None:
    with make_setting(OPENIDC, image={"BRIDGE": "websockify"}, sections={"limits": {"maxSessionAge": "2s"}}) as made:
        session = made.proxy.open(made.token())
        started = time.time()
        code, when = websocket.wait_for_close(session)
        assert (code, abs(when - started - 2) <= 1) == (1001, True)


def test_no_session_while_the_disk_is_full(make_setting: SettingMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    websockify = {"BRIDGE": "websockify"}
    with make_setting_on_small_disk(make_setting, monkeypatch, OPENIDC, image=websockify) as (made, logs):
        made.proxy.awaits_records = False
        made.proxy.open(made.token()).socket.close()
        filler = fill(logs)
        statuses = [made.proxy.open(made.token()).status for _ in range(40)]
        assert 101 not in statuses[-20:]
        filler.unlink()
        deadline = time.monotonic() + 10
        while (session := made.proxy.open(made.token())).status != 101:
            assert time.monotonic() < deadline
        assert websocket.echo(session, b"recorded") == b"recorded"
        session.socket.close()


def test_an_operator_ends_a_session(setting: Setting, tmp_path: Path) -> None:
    session = setting.proxy.open(setting.token(sub="target"))
    bystander = setting.proxy.open(setting.token(sub="bystander"))
    assert operator(setting, "end", "--subject", "target", tmp_path=tmp_path)["ended"] == [name_of(session)]
    assert websocket.wait_for_close(session)[0] == 4403
    assert websocket.echo(bystander, b"untouched") == b"untouched"
    bystander.socket.close()


def test_many_sessions_expire_and_all_are_ended(setting: Setting) -> None:
    expires = int(time.time()) + 4
    sessions = [setting.proxy.open(setting.token(exp=expires)) for _ in range(40)]
    assert {websocket.wait_for_close(session)[0] for session in sessions} == {4401}
    for session in sessions:
        end_of(setting, session)
    assert websocket.echo(setting.proxy.open(setting.token()), b"next") == b"next"
    assert "[alert]" not in setting.proxy.log("nginx-error.log") + setting.proxy.log("http-error.log")
