"""The end of a session is one: for the application, for who may extend it, for what it held, for the audit log; and an
operator's order reaches sessions wherever they are.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.proxy.auth import websocket
from tests.proxy.auth.conftest import EXTERNAL, Setting, SettingMaker
from tests.proxy.auth.proxy import Answer, split
from tests.proxy.auth.test_registry import name_of
from tests.proxy.auth.test_sessions import API, call, operator
from tests.proxy.wire import BINARY, CLOSE, frame, wait_until


@contextmanager
def talking(session: Answer, data: bytes) -> Iterator[None]:
    """The client sends the same again and again, whatever it is told."""
    stop = threading.Event()

    def talk() -> None:
        with suppress(OSError):
            while not stop.wait(0.02):
                session.socket.sendall(data)

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        yield
    finally:
        stop.set()
        talker.join()


def test_nothing_reaches_the_application_after_an_operator_s_order(make_setting: SettingMaker, tmp_path: Path) -> None:
    received = bytearray()
    ended = threading.Event()

    def note(connection: object) -> None:
        while data := connection.recv(65536):  # type: ignore[attr-defined]
            received.extend(data)
        if received:  # not the readiness probe
            ended.set()

    with make_setting(EXTERNAL) as made:
        made.proxy.backend.behaviour = note
        session = made.proxy.open(made.token(sub="target"))
        with talking(session, frame(BINARY, b"data")):
            wait_until(lambda: received, 5, "nothing reaches the application")
            operator(made, "end", "--subject", "target", tmp_path=tmp_path)
            assert websocket.read_frame(session)[0] == CLOSE
            assert ended.wait(1), "the application was not told"
            count = len(received)
            record = made.proxy.audited("end", within=10)
            assert len(received) == count == record["bytes_up"]
            assert record["bytes_lost"] > 0


def test_a_session_that_was_cut_cannot_be_extended(make_setting: SettingMaker) -> None:
    with make_setting(EXTERNAL) as made:
        session = made.proxy.open(made.token(exp=int(time.time()) + 2))
        assert websocket.read_frame(session)[0] == CLOSE  # and it is not answered
        answer = call(made, "POST", f"{API}/{name_of(session)}", made.token())
        assert answer.status == 404
        assert made.proxy.audited("refusal")["reason"] == "the session has ended"
        assert call(made, "GET", API, made.token()).body.find(name_of(session).encode()) == -1


def test_what_a_session_held_is_free_when_it_has_ended_for_its_client(make_setting: SettingMaker) -> None:
    """NGINX reads on for a while, so that no reset overtakes the close frame; that is not the session any more."""
    with make_setting(EXTERNAL, sections={"limits": {"connectionsPerSubject": 1}}) as made:
        session = made.proxy.open(made.token())
        session.socket.sendall(frame(3))
        assert websocket.read_frame(session)[0] == CLOSE
        with talking(session, b"and so on"):
            record = made.proxy.audited("end", within=3)
            assert record["duration_s"] < 3
            assert made.proxy.open(made.token()).status == 101


def test_an_operator_ends_sessions_of_workers_that_are_leaving(make_setting: SettingMaker, tmp_path: Path) -> None:
    with make_setting(EXTERNAL, sections={"limits": {"drainTimeout": "300s"}}) as made:
        sessions = [made.proxy.open(made.token(sub="target")) for _ in range(4)]
        made.proxy.renew_workers()
        _assert_ended(made, sessions, tmp_path)


def test_an_operator_ends_sessions_that_open_while_the_worker_leaves(
    make_setting: SettingMaker, tmp_path: Path
) -> None:
    """A connection from before may bring its request late."""
    with make_setting(EXTERNAL, sections={"limits": {"drainTimeout": "300s"}}) as made, ExitStack() as stack:
        connections = [stack.enter_context(made.proxy.connect(made.proxy.wss_port)) for _ in range(4)]
        head = handshake(made)
        for connection in connections:
            connection.sendall(head[:20])
        made.proxy.renew_workers()
        for connection in connections:
            connection.sendall(head[20:])
        sessions = [Answer(*split(connection.recv(4096)), connection) for connection in connections]
        assert [session.status for session in sessions] == [101] * 4
        _assert_ended(made, sessions, tmp_path)


def handshake(made: Setting) -> bytes:
    lines = [
        "GET / HTTP/1.1",
        "Host: x",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Authorization: Bearer {made.token(sub='target')}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _assert_ended(made: Setting, sessions: list[Answer], tmp_path: Path) -> None:
    """An operator's order reaches them; one that the worker's drain came to first was told that."""
    operator(made, "end", "--subject", "target", tmp_path=tmp_path)
    codes = [websocket.wait_for_close(session)[0] for session in sessions]
    assert set(codes) <= {4403, 1001}
    assert codes.count(1001) <= 1


def test_a_leaving_worker_ends_when_its_last_session_has(make_setting: SettingMaker) -> None:
    with make_setting(EXTERNAL, sections={"limits": {"drainTimeout": "300s"}}) as made:
        session = made.proxy.open(made.token())
        made.proxy.signal(signal.SIGQUIT)
        assert websocket.echo(session, b"still here") == b"still here"
        websocket.close(session)
        wait_until(lambda: not made.proxy.workers(), 5, "the workers stay")
