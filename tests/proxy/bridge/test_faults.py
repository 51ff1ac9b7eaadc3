"""What breaks: protocol, backend, client. The other side is told, memory is freed, the next session works."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.proxy.backend import Backend, echo, flood, reset
from tests.proxy.conftest import ProxyMaker
from tests.proxy.nginx_harness import Proxy, resident
from tests.proxy.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    ConnectionEndedError,
    WireClient,
    close_payload,
    frame,
)

pytestmark = pytest.mark.machine


def expect_close(proxy: Proxy, data: bytes, code: int, reason: bytes) -> None:
    """Send `data`: the session must end with this close frame and an orderly end of the connection."""
    with WireClient(proxy).open() as client:
        client.send(data)
        close = client.receive_close()
        assert (close.code, close.payload[2:]) == (code, reason)
        client.assert_ended()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(frame(BINARY, b"x", masked=False), b"frame not masked", id="unmasked"),
        pytest.param(frame(BINARY, b"x", reserved=4), b"reserved bits set", id="rsv1"),
        pytest.param(frame(PING, reserved=1), b"reserved bits set", id="rsv3 on a ping"),
        pytest.param(frame(3, b"x"), b"reserved opcode", id="opcode 3"),
        pytest.param(frame(7), b"reserved opcode", id="opcode 7"),
        pytest.param(frame(11), b"reserved opcode", id="opcode 11"),
        pytest.param(frame(15), b"reserved opcode", id="opcode 15"),
        pytest.param(frame(PING, fin=False), b"fragmented control frame", id="fragmented ping"),
        pytest.param(frame(PING, b"p" * 126), b"control frame too long", id="long ping"),
        pytest.param(frame(CLOSE, b"\x03\xe8" + b"r" * 124), b"control frame too long", id="long close"),
        pytest.param(frame(CONTINUATION, b"x"), b"continuation without a message", id="continuation first"),
        pytest.param(
            frame(BINARY, fin=False) + frame(BINARY), b"new message inside a message", id="message in a message"
        ),
        pytest.param(b"\x82\xfe\x00\x7dkeyskeys", b"length not in its shortest form", id="125 in 16 bits"),
        pytest.param(
            b"\x82\xff" + (65535).to_bytes(8, "big") + b"keys", b"length not in its shortest form", id="64 bits"
        ),
        pytest.param(b"\x82\xff" + (1 << 63).to_bytes(8, "big") + b"keys", b"length out of range", id="63rd bit"),
        pytest.param(frame(CLOSE, b"\x03"), b"close frame of one byte", id="close of one byte"),
        *(
            pytest.param(frame(CLOSE, close_payload(code)), b"close code not allowed", id=f"close {code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        ),
    ],
)
def test_a_broken_protocol_is_closed_1002(proxy: Proxy, data: bytes, reason: bytes) -> None:
    expect_close(proxy, data, 1002, reason)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_an_error_in_the_first_bytes_of_a_header_is_told_before_the_rest_arrives(proxy: Proxy, cut: int) -> None:
    if cut > 1:
        expect_close(proxy, frame(3, b"x" * 300)[:cut], 1002, b"reserved opcode")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(TEXT, b"\xff"), id="bad byte"),
        pytest.param(frame(TEXT, b"\xc0\xaf"), id="overlong"),
        pytest.param(frame(TEXT, b"\xed\xa0\x80"), id="surrogate"),
        pytest.param(frame(TEXT, b"\xf4\x90\x80\x80"), id="beyond U+10FFFF"),
        pytest.param(frame(TEXT, b"\xc3"), id="unfinished"),
        pytest.param(frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"x"), id="across fragments"),
    ],
)
def test_text_that_is_not_utf8_is_closed_1007(proxy: Proxy, data: bytes) -> None:
    with WireClient(proxy).open() as client:
        client.send(data)
        while (received := client.receive_frame()).opcode == BINARY:
            pass
        assert (received.code, received.payload[2:]) == (1007, b"text is not UTF-8")
        client.assert_ended()


def test_a_close_reason_that_is_not_utf8_is_closed_1007(proxy: Proxy) -> None:
    expect_close(proxy, frame(CLOSE, close_payload(1000, b"\xff")), 1007, b"close reason is not UTF-8")


def test_what_came_before_a_broken_frame_is_delivered(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            client.send(frame(BINARY, b"good") + frame(3, b"bad"))
            assert backend.recv(100) == b"good"
            assert backend.recv(100) == b""
            backend.sendall(b"answer")
            assert client.receive_bytes(6) == b"answer"
            assert client.receive_close().code == 1002


@pytest.mark.parametrize(
    ("limits", "data", "reason"),
    [
        ({"max_frame_size": 1000}, frame(BINARY, b"x" * 1001), b"frame too large"),
        ({"max_message_size": 1000}, frame(BINARY, b"x" * 1001), b"message too large"),
        (
            {"max_message_size": 1000},
            frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 401),
            b"message too large",
        ),
    ],
    ids=["frame", "message", "fragments"],
)
def test_what_exceeds_a_limit_is_closed_1009(
    make_proxy: ProxyMaker, limits: dict[str, int], data: bytes, reason: bytes
) -> None:
    with make_proxy(limits=limits) as proxy, WireClient(proxy).open() as client:
        client.send(data)
        while (received := client.receive_frame()).opcode == BINARY:
            pass
        assert (received.opcode, received.code, received.payload[2:]) == (CLOSE, 1009, reason)


def test_what_just_fits_the_limits_passes(make_proxy: ProxyMaker) -> None:
    with (
        make_proxy(limits={"max_frame_size": 1000, "max_message_size": 1500}) as proxy,
        WireClient(proxy).open() as client,
    ):
        for _ in range(3):
            client.send(frame(BINARY, b"x" * 1000, fin=False) + frame(CONTINUATION, b"y" * 500))
            assert client.receive_bytes(1500) == b"x" * 1000 + b"y" * 500


def test_a_frame_longer_than_can_be_counted_is_closed_1009(proxy: Proxy) -> None:
    expect_close(proxy, b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"keys", 1009, b"frame too large")


def test_an_error_while_the_client_is_still_sending_does_not_lose_the_close_frame(proxy: Proxy) -> None:
    """Closing a socket with unread data resets it, and the reset may destroy a close frame that is under way."""
    for _ in range(5):
        with WireClient(proxy).open() as client:
            client.send(frame(3) + os.urandom(2 << 20))
            assert client.receive_close().code == 1002


def test_a_backend_that_resets_is_closed_1011(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client:
            reset(proxy.backend.accept())
            close = client.receive_close()
            assert (close.code, close.payload[2:]) == (1011, b"backend connection lost")
            client.send_frame(CLOSE, close.payload)
            client.assert_ended()
        assert proxy.closed_session().code == 1011


def test_a_backend_that_resets_in_the_middle_of_bulk_data_is_closed_1011(make_proxy: ProxyMaker) -> None:
    def talk_and_reset(connection: socket.socket) -> None:
        connection.sendall(bytes(4 << 20))
        reset(connection)

    with make_proxy() as proxy:
        proxy.backend.behaviour = talk_and_reset
        with WireClient(proxy).open() as client:
            while (received := client.receive_frame()).opcode == BINARY:
                pass
            assert (received.opcode, received.code) == (CLOSE, 1011)


def test_a_backend_that_closes_with_data_unread_is_not_called_a_normal_end(make_proxy: ProxyMaker) -> None:
    with make_proxy(send_timeout_ms=3000) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            sender = threading.Thread(target=send_until_closed, args=(client, frame(BINARY, bytes(1 << 20))))
            sender.start()
            time.sleep(0.3)
            backend.close()
            close = client.receive_close()
            assert close.code == 1011
            client.socket.close()
            sender.join()
        assert proxy.closed_session().code == 1011


def test_bytes_for_a_backend_that_has_gone_are_noted_in_the_log(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client:
            proxy.backend.accept().close()
            close = client.receive_close()
            for _ in range(4):  # the first is taken by the kernel, and answered by the other one's with a reset
                client.send_frame(BINARY, b"too late")
                time.sleep(0.05)
            client.send_frame(CLOSE, close.payload)
            client.assert_ended()
        closed = proxy.closed_session()
        assert (closed.bytes_up, closed.bytes_lost) == (0, 32)
        assert "32 bytes from the client were not delivered" in proxy.log()


def test_a_backend_that_does_not_read_is_closed_1011_after_the_send_timeout(make_proxy: ProxyMaker) -> None:
    with make_proxy(send_timeout_ms=700) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy, timeout=20).open() as client, proxy.backend.accept():
            sender = threading.Thread(target=send_until_closed, args=(client, frame(BINARY, bytes(1 << 20))))
            sender.start()
            close = client.receive_close()
            assert (close.code, close.payload[2:]) == (1011, b"backend does not read")
            client.socket.close()
            sender.join()
        assert proxy.closed_session().code == 1011
        assert "bytes from the client were not delivered" in proxy.log()


def test_a_backend_that_reads_again_in_time_loses_nothing(make_proxy: ProxyMaker) -> None:
    total = 16 << 20
    with make_proxy(send_timeout_ms=3000) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            data = os.urandom(total)
            sender = threading.Thread(target=client.send_frame, args=(BINARY, data))
            sender.start()
            time.sleep(1)
            received = bytearray()
            while len(received) < total:
                received += backend.recv(1 << 20)
            assert received == data
            sender.join()


def test_pressure_reaches_a_client_that_sends_more_than_the_backend_reads(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        worker = proxy.workers()[0]
        with WireClient(proxy, timeout=1).open() as client, proxy.backend.accept():
            before = resident(worker)
            with pytest.raises(TimeoutError):
                client.send_frame(BINARY, bytes(64 << 20))
            assert resident(worker) - before < 1 << 20


def test_pressure_reaches_a_backend_that_sends_more_than_the_client_reads(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        worker = proxy.workers()[0]
        with WireClient(proxy).open(), proxy.backend.accept() as backend:
            before = resident(worker)
            backend.settimeout(1)
            with pytest.raises(TimeoutError):
                backend.sendall(bytes(64 << 20))
            assert resident(worker) - before < 1 << 20


def test_a_client_that_never_reads_is_dropped_after_the_send_timeout(make_proxy: ProxyMaker) -> None:
    with make_proxy(send_timeout_ms=700) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open(), proxy.backend.accept() as backend:
            flooding = threading.Thread(target=flood_until_closed, args=(backend,))
            flooding.start()
            report = proxy.closed_session()
            assert (report.code, report.reason) == (1006, "client does not read")
            flooding.join(5)
            assert not flooding.is_alive()


def test_a_client_that_resets_ends_the_backend_too(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        client = WireClient(proxy).open()
        with proxy.backend.accept() as backend:
            client.abort()
            with suppress(ConnectionResetError):
                assert backend.recv(1) == b""
        assert proxy.closed_session().code == 1006
        assert proxy.errors() == []


@pytest.mark.parametrize("sent", [b"\x82", b"\x82\xfe\x01", b"\x82\xff" + bytes(7), b"\x82\x85key"], ids=bytes.hex)
def test_a_client_that_stalls_inside_a_header_is_closed_when_it_shows_no_life(
    make_proxy: ProxyMaker, sent: bytes
) -> None:
    with make_proxy(read_timeout_ms=600) as proxy, WireClient(proxy).open() as client:
        client.send(sent)
        assert client.receive_frame().opcode == PING
        assert client.receive_close().code == 1011


def test_a_client_that_stalls_before_its_request_is_complete_is_dropped(make_proxy: ProxyMaker) -> None:
    with make_proxy(extra_http="client_header_timeout 1s;") as proxy, WireClient(proxy) as client:
        client.send(client.request()[:-2])
        with pytest.raises(ConnectionEndedError):
            client.response()


def test_a_header_beyond_the_limit_is_answered_4xx(proxy: Proxy) -> None:
    with WireClient(proxy) as client:
        assert client.handshake({"X-Large": "x" * 60000}).status in (400, 414, 431)


FAILING_DECODER = """
    local decoder = require("secure_proxy.ws.decoder")
    local decode = decoder.decode
    function decoder.decode(...)
        local event, position, filled = decode(...)
        if event == decoder.PONG then
            error("made to fail")
        end
        return event, position, filled
    end
"""


def test_an_error_of_our_own_ends_the_session_and_no_other(make_proxy: ProxyMaker) -> None:
    with make_proxy(worker_lua=FAILING_DECODER, limits={"sessions_per_worker": 2}) as proxy:
        with WireClient(proxy).open() as other:
            for _ in range(3):
                with WireClient(proxy).open() as client:
                    client.send_frame(PONG)
                    close = client.receive_close()
                    assert (close.code, close.payload[2:]) == (1011, b"internal error")
                    client.assert_ended()
                proxy.closed_session()
            other.send_frame(BINARY, b"still here")
            assert other.receive_bytes(10) == b"still here"
        assert "made to fail" in proxy.log()


FAULTS: dict[str, Callable[[Proxy, Backend], None]] = {}


def fault(function: Callable[[Proxy, Backend], None]) -> Callable[[Proxy, Backend], None]:
    FAULTS[function.__name__] = function
    return function


@fault
def client_aborts(proxy: Proxy, backend: Backend) -> None:
    backend.behaviour = echo
    client = WireClient(proxy).open()
    client.send_frame(BINARY, bytes(200000))
    client.abort()


@fault
def client_breaks_the_protocol(proxy: Proxy, backend: Backend) -> None:
    backend.behaviour = echo
    with WireClient(proxy).open() as client:
        client.send(frame(BINARY, bytes(70000)) + frame(3))
        while client.receive_frame().opcode != CLOSE:
            pass


@fault
def backend_resets(proxy: Proxy, backend: Backend) -> None:
    backend.behaviour = read_and_reset
    with WireClient(proxy).open() as client:
        client.send_frame(BINARY, b"x")
        client.receive_close()


@fault
def backend_floods_and_the_client_leaves(proxy: Proxy, backend: Backend) -> None:
    backend.behaviour = flood
    with WireClient(proxy).open() as client:
        for _ in range(20):
            client.receive_frame()


@fault
def pings_without_reading(proxy: Proxy, backend: Backend) -> None:
    backend.behaviour = flood
    with WireClient(proxy, receive_buffer=8192).open() as client:
        client.send(frame(PING, b"p" * 100) * 2000)


# Half of the smallest buffer that a session has: whoever leaks one is seen, the allocator's fragments are not.
SESSIONS, KEPT_BYTES = 40, 2048


@pytest.mark.parametrize("name", list(FAULTS))
def test_memory_is_freed_and_the_next_session_works_after(make_proxy: ProxyMaker, name: str) -> None:
    with make_proxy() as proxy:
        worker = proxy.workers()[0]
        growth: list[int] = []
        # What is allocated once, and garbage not yet collected, is not growth: it stops.
        while not growth or min(growth) > SESSIONS * KEPT_BYTES:
            before = resident(worker)
            for _ in range(SESSIONS):
                FAULTS[name](proxy, proxy.backend)
                proxy.closed_session()
            growth.append(resident(worker) - before)
            assert len(growth) <= 12, f"the worker grows: {growth}"
        assert proxy.workers() == [worker]
        # NGINX itself notes that a backend reset its connection; nothing else may be wrong.
        assert [line for line in proxy.errors() if "Connection reset by peer" not in line] == []
        proxy.backend.behaviour = echo
        with WireClient(proxy).open() as client:
            client.send_frame(BINARY, b"still here")
            assert client.receive_bytes(10) == b"still here"


def test_one_byte_a_second_is_as_good_as_any(make_proxy: ProxyMaker) -> None:
    with make_proxy(read_timeout_ms=3000) as proxy, WireClient(proxy).open() as client:
        whole = frame(BINARY, b"slow")
        for index in range(4):
            client.send(whole[index : index + 1])
            time.sleep(1)
        client.send(whole[4:])
        received = client.receive_frame()
        while received.opcode in (PING, PONG):
            received = client.receive_frame()
        assert received.payload == b"slow"


def read_and_reset(connection: socket.socket) -> None:
    """Wait for a byte, then reset."""
    connection.recv(1)
    reset(connection)


def send_until_closed(client: WireClient, data: bytes) -> None:
    """Send the same bytes again and again until the connection is gone."""
    try:
        for _ in range(1000):
            client.send(data)
    except (OSError, ValueError):
        pass


def flood_until_closed(connection: socket.socket) -> None:
    """Send without end until the connection is gone."""
    try:
        connection.settimeout(10)
        flood(connection)
    except OSError:
        pass
