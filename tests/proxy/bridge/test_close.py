"""How sessions end when nobody is at fault: either side closes, a deadline comes (RFC 6455, section 7)."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.proxy.backend import Backend, flood, ignore_end
from tests.proxy.conftest import ProxyMaker
from tests.proxy.nginx_harness import HarnessError, Proxy
from tests.proxy.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    ConnectionEndedError,
    WireClient,
    close_payload,
    frame,
)

pytestmark = pytest.mark.machine


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4401, 4999])
def test_the_clients_close_is_answered_with_its_code(proxy: Proxy, code: int) -> None:
    with WireClient(proxy).open() as client:
        answer = client.close(code, b"bye")
        assert (answer.code, answer.payload) == (code, close_payload(code))
        client.assert_ended()


def test_an_empty_close_is_answered_with_an_empty_one(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send_frame(CLOSE)
        assert client.receive_close().payload == b""
        client.assert_ended()


def test_the_longest_reason_is_accepted(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        assert client.close(1000, "ü".encode() * 61 + b"x").code == 1000


def test_bytes_after_the_close_frame_are_ignored(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(frame(CLOSE, close_payload(1000)) + frame(BINARY, b"late") + b"\xff" * 50)
        assert client.receive_close().code == 1000
        client.assert_ended()


def test_a_close_inside_a_fragmented_message_is_a_close(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(frame(TEXT, b"half", fin=False) + frame(CLOSE, close_payload(1000)))
        assert client.receive_bytes(4) == b"half"
        assert client.receive_close().code == 1000


def test_a_close_inside_a_half_character_is_a_close(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(frame(TEXT, b"\xc3", fin=False) + frame(CLOSE, close_payload(1000)))
        assert client.receive_bytes(1) == b"\xc3"
        assert client.receive_close().code == 1000


def test_what_the_client_sent_before_its_close_reaches_the_backend_which_then_sees_the_end(
    make_proxy: ProxyMaker,
) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            client.send(frame(BINARY, b"a" * 100000) + frame(CLOSE, close_payload(1000)))
            received = b""
            while data := backend.recv(65536):
                received += data
            assert received == b"a" * 100000


def test_what_the_backend_still_says_comes_before_the_answer_to_the_close(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            client.send_frame(CLOSE, close_payload(1000))
            assert backend.recv(1) == b""
            backend.sendall(b"last words")
            backend.close()
            assert client.receive_bytes(10) == b"last words"
            assert client.receive_close().code == 1000


def test_a_backend_that_does_not_end_does_not_hold_up_the_answer(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = ignore_end
        with WireClient(proxy).open() as client:
            started = time.monotonic()
            assert client.close().code == 1000
            assert time.monotonic() - started < 1.0


def test_a_backend_that_never_stops_talking_does_not_hold_up_the_answer(make_proxy: ProxyMaker) -> None:
    def talk(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"blah")
            time.sleep(0.05)

    with make_proxy() as proxy:
        proxy.backend.behaviour = talk
        with WireClient(proxy).open() as client:
            started = time.monotonic()
            assert client.close().code == 1000
            assert time.monotonic() - started < 3.0


def test_the_backends_end_is_a_close_1000_after_its_last_byte(make_proxy: ProxyMaker) -> None:
    data = os.urandom(3 << 20)

    def say_and_go(connection: socket.socket) -> None:
        connection.sendall(data)

    with make_proxy() as proxy:
        proxy.backend.behaviour = say_and_go
        with WireClient(proxy).open() as client:
            assert client.receive_bytes(len(data)) == data
            close = client.receive_close()
            assert (close.code, close.payload[2:]) == (1000, b"backend ended")
            client.send_frame(CLOSE, close.payload)
            client.assert_ended()
        assert proxy.closed_session().code == 1000


def test_a_backend_that_only_stopped_talking_still_gets_what_is_under_way(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            backend.shutdown(socket.SHUT_WR)
            assert client.receive_close().code == 1000
            client.send(frame(BINARY, b"under way") + frame(CLOSE, close_payload(1000)))
            received = b""
            while data := backend.recv(100):
                received += data
            assert received == b"under way"


def test_a_client_that_does_not_answer_the_close_is_waited_for_a_bounded_time(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client:
            proxy.backend.accept().close()
            assert client.receive_close().code == 1000
            started = time.monotonic()
            client.assert_ended()
            assert 3 < time.monotonic() - started < 7


def test_a_client_that_ends_without_a_close_frame_ends_the_backend_too(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            client.send_frame(BINARY, b"all there is")
            assert backend.recv(100) == b"all there is"
            client.socket.close()
            assert backend.recv(100) == b""
        assert proxy.closed_session().code == 1006


@pytest.mark.parametrize("inside", [False, True], ids=["between messages", "inside a message"])
def test_a_token_that_expires_ends_the_session_with_4401(make_proxy: ProxyMaker, inside: bool) -> None:
    with make_proxy(lifetime_seconds=1.5) as proxy, WireClient(proxy).open() as client:
        started = time.monotonic()
        client.send_frame(BINARY, b"x", fin=not inside)
        assert client.receive_bytes(1) == b"x"
        close = client.receive_close()
        assert (close.code, close.payload[2:]) == (4401, b"token expired")
        assert 1.0 < time.monotonic() - started < 2.0
        client.send_frame(CLOSE, close.payload)
        client.assert_ended()
        assert proxy.closed_session().code == 4401


def test_a_token_that_had_expired_before_ends_the_session_at_once(make_proxy: ProxyMaker) -> None:
    with make_proxy(lifetime_seconds=-1) as proxy, WireClient(proxy).open() as client:
        assert client.receive_close().code == 4401


def test_the_age_limit_ends_the_session_with_1001(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"max_session_age_ms": 800}) as proxy, WireClient(proxy).open() as client:
        started = time.monotonic()
        close = client.receive_close()
        assert (close.code, close.payload[2:]) == (1001, b"session age limit")
        assert 0.5 < time.monotonic() - started < 1.5


def test_nothing_that_is_sent_after_a_deadline_reaches_the_backend(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"max_session_age_ms": 500}) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            client.send_frame(BINARY, b"in time")
            assert client.receive_close().code == 1001
            client.send(frame(BINARY, b"too ", fin=False) + frame(PING) + frame(CONTINUATION, b"late"))
            received = b""
            while data := backend.recv(100):  # it sees the end before the client has closed
                received += data
            assert received == b"in time"
            client.send_frame(CLOSE, close_payload(1001))
            client.assert_ended()
        assert proxy.closed_session().bytes_lost == 8
        assert "8 bytes from the client were not delivered: session age limit" in proxy.log()


@pytest.mark.parametrize("receive_buffer", [None, 16384], ids=["in its machine", "on the way to it"])
def test_a_backend_that_is_slow_gets_all_that_the_client_sent_before_its_close(
    make_proxy: ProxyMaker, receive_buffer: int | None
) -> None:
    """The client is told at once; the backend reads on for seconds, and answers all the while."""
    data = os.urandom(3 << 20)
    received = bytearray()
    done = threading.Event()

    def acknowledge_slowly(connection: socket.socket) -> None:
        try:
            while chunk := connection.recv(16384):
                received.extend(chunk)
                connection.sendall(b"got " + chunk[:4092])
                time.sleep(0.03)
        finally:
            done.set()

    with Backend(acknowledge_slowly, receive_buffer) as backend, make_proxy(backend_port=backend.port) as proxy:
        with WireClient(proxy).open() as client:
            client.send_frame(BINARY, data)
            assert client.close().code == 1000
            client.assert_ended()
            assert not done.is_set()
        assert done.wait(30)
        assert received == data
        closed = proxy.closed_session()
        assert (closed.bytes_up, closed.bytes_lost) == (len(data), 0)


def test_what_a_backend_does_not_take_after_the_clients_close_is_noted_as_lost(make_proxy: ProxyMaker) -> None:
    data = os.urandom(3 << 20)
    with Backend(None, 16384) as backend, make_proxy(backend_port=backend.port, send_timeout_ms=1000) as proxy:
        with WireClient(proxy).open() as client, backend.accept():
            client.send_frame(BINARY, data)
            assert client.close().code == 1000
            closed = proxy.closed_session()
            assert closed.bytes_lost > 0
            assert closed.bytes_up + closed.bytes_lost == len(data)
        assert f"{closed.bytes_lost} bytes from the client were not delivered: client closed" in proxy.log()


def read_slowly(client: WireClient, seconds: float) -> tuple[int, int | None]:
    """All that comes, a frame in so many seconds: payload bytes before the close frame, and its code."""
    total = 0
    while (received := client.receive_frame()).opcode != CLOSE:
        total += len(received.payload) if received.opcode == BINARY else 0
        time.sleep(seconds)
    return total, received.code


def test_a_reader_that_pauses_gets_the_close_frame_of_a_session_that_is_cut(make_proxy: ProxyMaker) -> None:
    """It waits behind all that the backend said before, and the client has the send timeout to take some of it."""
    with make_proxy(lifetime_seconds=1, send_timeout_ms=20000) as proxy:
        proxy.backend.behaviour = flood
        with WireClient(proxy, receive_buffer=8192).open() as client:
            with pytest.raises(HarnessError, match="no session ended"):
                proxy.closed_session(within=8)
            total, code = read_slowly(client, 0)
            assert code == 4401
            client.send_frame(CLOSE, close_payload(4401))
            client.assert_ended()
        closed = proxy.closed_session()
        assert (closed.code, closed.bytes_down, closed.bytes_lost) == (4401, total, 0)


def test_a_slow_reader_that_talks_gets_all_that_the_backend_said(make_proxy: ProxyMaker) -> None:
    """Its bytes are unread when the connection ends: a reset must not meet what is still on its way."""
    data = os.urandom(3 << 20)

    def say_and_go(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while connection.recv(65536):
                pass

    with make_proxy(extra_http="lingering_time 1s; lingering_timeout 1s;") as proxy:
        proxy.backend.behaviour = say_and_go
        with WireClient(proxy, receive_buffer=8192).open() as client:
            stop = threading.Event()

            def talk() -> None:
                with suppress(OSError):
                    while not stop.wait(0.05):
                        client.send_frame(BINARY, b"0123456789")

            talker = threading.Thread(target=talk)
            talker.start()
            try:
                assert read_slowly(client, 0.2) == (len(data), 1000)
            finally:
                stop.set()
                talker.join()
        closed = proxy.closed_session()
        assert (closed.code, closed.bytes_down, closed.bytes_lost) == (1000, len(data), 0)


def test_a_reader_that_stops_is_cut_and_what_it_did_not_take_is_noted_as_lost(make_proxy: ProxyMaker) -> None:
    with make_proxy(lifetime_seconds=1, send_timeout_ms=1500) as proxy:
        proxy.backend.behaviour = flood
        with WireClient(proxy, receive_buffer=8192).open() as client:
            closed = proxy.closed_session()
            assert closed.code == 4401
            assert closed.bytes_lost > 0
            assert f"{closed.bytes_lost} bytes from the backend were not delivered: token expired" in proxy.log()
            with pytest.raises(ConnectionEndedError):
                read_slowly(client, 0)


def test_a_client_that_does_not_wait_for_our_close_frame_has_lost_nothing(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        for _ in range(20):
            with WireClient(proxy).open() as client:
                client.send_frame(BINARY, b"twelve bytes")
                assert client.receive_bytes(12) == b"twelve bytes"
                client.send_frame(CLOSE, close_payload(1000))
            closed = proxy.closed_session()
            assert (closed.code, closed.bytes_up, closed.bytes_down, closed.bytes_lost) == (1000, 12, 12, 0)


def test_nothing_follows_the_close_frame(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"max_session_age_ms": 500}) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            stop = threading.Event()

            def talk() -> None:
                try:
                    while not stop.wait(0.01):
                        backend.sendall(b"x" * 1000)
                except OSError:
                    pass

            talker = threading.Thread(target=talk)
            talker.start()
            while (received := client.receive_frame()).opcode == BINARY:
                pass
            assert received.opcode == CLOSE
            client.send_frame(PING)
            client.send_frame(CLOSE, received.payload)
            client.assert_ended()
            stop.set()
            talker.join()
