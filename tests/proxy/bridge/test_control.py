"""Pings, pongs and signs of life."""

from __future__ import annotations

import threading
import time

import pytest

from tests.proxy.backend import flood
from tests.proxy.conftest import ProxyMaker
from tests.proxy.nginx_harness import Proxy, resident
from tests.proxy.wire import BINARY, CLOSE, PING, PONG, WireClient, frame

pytestmark = pytest.mark.machine


@pytest.mark.parametrize("payload", [b"", b"x", b"\x00\xff" * 62, b"p" * 125])
def test_a_ping_is_answered_with_its_payload(proxy: Proxy, payload: bytes) -> None:
    with WireClient(proxy).open() as client:
        client.send_frame(PING, payload)
        received = client.receive_frame()
        assert (received.opcode, received.payload, received.fin) == (PONG, payload, True)


def test_many_pings_are_answered_in_order(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(b"".join(frame(PING, b"%d" % index) for index in range(20)))
        assert [client.receive_frame().payload for _ in range(20)] == [b"%d" % index for index in range(20)]


def test_a_pong_that_nobody_asked_for_is_ignored(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(frame(PONG, b"hello") + frame(BINARY, b"x"))
        assert client.receive_bytes(1) == b"x"


def test_a_ping_is_answered_at_once_while_the_backend_is_silent(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept():
            started = time.monotonic()
            client.send_frame(PING, b"now")
            assert client.receive_frame().payload == b"now"
            assert time.monotonic() - started < 0.2


def test_a_ping_is_answered_while_the_backend_floods(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = flood
        with WireClient(proxy, timeout=10).open() as client:
            client.receive_frame()
            started = time.monotonic()
            client.send_frame(PING, b"now")
            while client.receive_frame().opcode != PONG:
                assert time.monotonic() - started < 2


def test_a_ping_overtakes_data_that_wait_for_a_slow_client(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            backend.settimeout(60)
            writer = threading.Thread(target=backend.sendall, args=(bytes(64 << 20),))
            writer.start()
            time.sleep(0.5)  # everything between is full now
            client.send(b"".join(frame(PING, b"%d" % index) for index in range(3)))
            time.sleep(0.5)
            received, before = 0, None
            while received < 64 << 20:
                got = client.receive_frame()
                if got.opcode == PONG:
                    before = received if before is None else before
                received += len(got.payload) if got.opcode == BINARY else 0
            writer.join()
            assert before is not None
            assert before < 16 << 20


def test_a_silent_client_is_pinged_and_kept_while_it_answers(make_proxy: ProxyMaker) -> None:
    with make_proxy(read_timeout_ms=600) as proxy, WireClient(proxy).open() as client:
        started = time.monotonic()
        while time.monotonic() - started < 2:
            received = client.receive_frame()
            assert received.opcode == PING
            client.send_frame(PONG, received.payload)
        client.send_frame(BINARY, b"alive")
        assert client.receive_bytes(5) == b"alive"


def test_any_bytes_are_a_sign_of_life(make_proxy: ProxyMaker) -> None:
    with make_proxy(read_timeout_ms=600) as proxy, WireClient(proxy).open() as client:
        whole = frame(BINARY, b"x" * 30)
        for index in range(15):
            client.send(whole[index : index + 1])
            time.sleep(0.1)
        client.send(whole[15:])
        assert client.receive_bytes(30) == b"x" * 30


def test_a_client_without_signs_of_life_is_closed_after_the_read_timeout(make_proxy: ProxyMaker) -> None:
    with make_proxy(read_timeout_ms=600) as proxy, WireClient(proxy).open() as client:
        started = time.monotonic()
        assert client.receive_frame().opcode == PING
        close = client.receive_frame()
        assert (close.opcode, close.code, close.payload[2:]) == (CLOSE, 1011, b"client is silent")
        assert 0.5 < time.monotonic() - started < 1.5
        client.assert_ended()


def test_a_silent_backend_is_no_reason_to_close(make_proxy: ProxyMaker) -> None:
    with make_proxy(read_timeout_ms=400) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            for _ in range(10):
                client.send_frame(BINARY, b"x")
                assert backend.recv(10) == b"x"
                time.sleep(0.1)
            backend.sendall(b"at last")
            assert client.receive_bytes(7) == b"at last"


def test_a_flood_of_control_frames_is_closed_1008(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"control_frames_per_second": 50}) as proxy, WireClient(proxy).open() as client:
        client.send(frame(PING) * 500)
        while (received := client.receive_frame()).opcode == PONG:
            pass
        assert (received.opcode, received.code, received.payload[2:]) == (CLOSE, 1008, b"too many control frames")
        client.assert_ended()


def test_control_frames_below_the_rate_pass(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"control_frames_per_second": 50}) as proxy, WireClient(proxy).open() as client:
        for _ in range(3):
            client.send(frame(PING) * 40)
            assert all(client.receive_frame().opcode == PONG for _ in range(40))
            time.sleep(1.1)


def test_data_frames_do_not_count_as_control_frames(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"control_frames_per_second": 5}) as proxy, WireClient(proxy).open() as client:
        client.send(frame(BINARY, b"x") * 1000)
        assert client.receive_bytes(1000) == b"x" * 1000


def test_pings_without_a_reader_do_not_pile_up(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = flood
        worker = proxy.workers()[0]
        with WireClient(proxy, receive_buffer=8192).open() as client:
            time.sleep(0.5)
            before = resident(worker)
            client.send(frame(PING, b"p" * 125) * 50000)
            client.send(frame(PING, b"p" * 125) * 50000)
            assert resident(worker) - before < 2 << 20
