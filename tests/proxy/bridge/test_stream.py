"""Bytes in order, whatever the frames that carry them."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from contextlib import suppress

import pytest

from tests.proxy.backend import echo
from tests.proxy.conftest import ProxyMaker
from tests.proxy.nginx_harness import Proxy
from tests.proxy.wire import BINARY, CONTINUATION, PING, PONG, TEXT, WireClient, frame, header, mask

pytestmark = pytest.mark.machine

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 125, 126, 127, 4095, 4096, 4097, 16384, 65523, 65532, 65535, 65536, 70000, 1 << 20]


@pytest.mark.parametrize("size", [*SIZES, 16 << 20])
def test_a_message_in_one_frame_comes_back(proxy: Proxy, size: int) -> None:
    data = os.urandom(size)
    with WireClient(proxy).open() as client:
        sender = threading.Thread(target=client.send_frame, args=(BINARY, data))
        sender.start()
        assert client.receive_bytes(size) == data
        sender.join()


def test_a_message_in_a_thousand_fragments_comes_back(proxy: Proxy) -> None:
    data = os.urandom(1000 * 300)
    frames = [
        frame(BINARY if index == 0 else CONTINUATION, data[index * 300 : (index + 1) * 300], fin=index == 999)
        for index in range(1000)
    ]
    with WireClient(proxy).open() as client:
        client.send(b"".join(frames))
        assert client.receive_bytes(len(data)) == data


def test_fragments_are_passed_on_before_the_message_is_complete(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send_frame(BINARY, b"first ", fin=False)
        assert client.receive_bytes(6) == b"first "
        client.send_frame(CONTINUATION, b"second", fin=False)
        assert client.receive_bytes(6) == b"second"


def test_a_frame_is_passed_on_before_it_is_complete(proxy: Proxy) -> None:
    data = os.urandom(1 << 20)
    whole = frame(BINARY, data)
    with WireClient(proxy).open() as client:
        client.send(whole[:1000])
        got = client.receive_bytes(1000 - 14)
        client.send(whole[1000:])
        assert got + client.receive_bytes(len(data) - len(got)) == data


def test_text_and_binary_alike_become_bytes(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(frame(TEXT, "gr\u00fc\u00df ".encode()) + frame(BINARY, b"\xff\x00") + frame(TEXT, b"end"))
        assert client.receive_bytes(12) == "gr\u00fc\u00df ".encode() + b"\xff\x00end"


def test_what_comes_back_is_unmasked_and_never_fragmented(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send_frame(BINARY, b"x" * 100)
        received = client.receive_frame()
        assert (received.opcode, received.fin, received.reserved, received.masked) == (BINARY, True, 0, False)


def test_empty_frames_carry_nothing(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(
            frame(BINARY)
            + frame(TEXT)
            + frame(BINARY, b"a", fin=False)
            + frame(CONTINUATION, fin=False)
            + frame(CONTINUATION)
        )
        client.send_frame(BINARY, b"b")
        assert client.receive_bytes(2) == b"ab"


def test_a_ping_inside_a_fragmented_message_does_not_disturb_it(proxy: Proxy) -> None:
    with WireClient(proxy).open() as client:
        client.send(frame(TEXT, b"a", fin=False) + frame(PING, b"now") + frame(CONTINUATION, b"b"))
        frames = [client.receive_frame()]
        while sum(len(f.payload) for f in frames if f.opcode == BINARY) < 2:
            frames.append(client.receive_frame())
        assert [f.payload for f in frames if f.opcode == PONG] == [b"now"]
        assert b"".join(f.payload for f in frames if f.opcode == BINARY) == b"ab"


@pytest.mark.parametrize("size", [0, 5, 126, 65536])
def test_one_byte_at_a_time_is_understood(proxy: Proxy, size: int) -> None:
    data = os.urandom(size)
    whole = frame(BINARY, data, fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"end")
    single = min(len(whole), 40)
    with WireClient(proxy).open() as client:
        for index in range(single):
            client.send(whole[index : index + 1])
        client.send(whole[single:])
        received = b""
        while len(received) < size + 3:
            got = client.receive_frame()
            received += got.payload if got.opcode == BINARY else b""
        assert received == data + b"end"


def test_the_longest_frame_with_every_key_byte_zero_is_passed_through(proxy: Proxy) -> None:
    data = os.urandom(200000)
    with WireClient(proxy).open() as client:
        client.send(header(BINARY, len(data), key=bytes(4)) + data)
        assert client.receive_bytes(len(data)) == data


COSOCKETS_ONLY = """
    local direct = require("secure_proxy.ws.direct")
    direct.client = function() end
    direct.descriptor = function() end
"""


@pytest.mark.parametrize(
    ("seed", "worker_lua"), [(1, ""), (2, ""), (3, COSOCKETS_ONLY)], ids=["1", "2", "cosockets only"]
)
def test_random_data_both_ways_at_once_arrive_unchanged(make_proxy: ProxyMaker, seed: int, worker_lua: str) -> None:
    total = 64 << 20
    source = random.Random(seed)  # noqa: S311
    down = source.randbytes(1 << 20)
    with make_proxy(worker_lua=worker_lua) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy, timeout=60).open() as client, proxy.backend.accept(60) as backend:
            sent, received = hashlib.sha256(), hashlib.sha256()

            def send_up() -> None:
                left = total
                while left:
                    size = min(left, source.choice([1, 125, 126, 5000, 65535, 65536, 500000]))
                    key, payload = source.randbytes(4), source.randbytes(size)
                    sent.update(payload)
                    client.send(header(BINARY, size, key=key) + mask(payload, key))
                    left -= size

            def send_down() -> None:
                for _ in range(total // len(down)):
                    backend.sendall(down)

            def read_up() -> None:
                left = total
                while left:
                    data = backend.recv(262144)
                    received.update(data)
                    left -= len(data)

            threads = [threading.Thread(target=work) for work in (send_up, send_down, read_up)]
            for thread in threads:
                thread.start()
            got = hashlib.sha256(client.receive_bytes(total)).hexdigest()
            for thread in threads:
                thread.join()
            assert received.hexdigest() == sent.hexdigest()
            assert got == hashlib.sha256(down * (total // len(down))).hexdigest()


def test_the_end_report_counts_bytes_and_frames(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy, WireClient(proxy).open() as client:
        client.send(frame(BINARY, b"12345") + frame(TEXT, b"678") + frame(PING))
        received = b""
        while len(received) < 8:
            got = client.receive_frame()
            received += got.payload if got.opcode == BINARY else b""
        client.close()
        report = proxy.closed_session()
        assert (report.bytes_up, report.bytes_down, report.frames_up) == (8, 8, 4)
        assert 1 <= report.frames_down <= 2
        assert 0 <= report.duration < 5


def test_small_writes_of_the_backend_are_not_held_back(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            for index in range(50):
                backend.sendall(bytes([index]))
                assert client.receive_frame().payload == bytes([index])


def test_what_gathers_for_a_slow_client_comes_in_larger_bounded_messages(make_proxy: ProxyMaker) -> None:
    total = 16_000_000
    with make_proxy() as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy, receive_buffer=16384).open() as client, proxy.backend.accept(20) as backend:

            def write() -> None:
                for _ in range(total // 100):
                    backend.sendall(b"x" * 100)

            writer = threading.Thread(target=write)
            writer.start()
            time.sleep(1)  # until everything between is full
            sizes: list[int] = []
            while sum(sizes) < total:
                sizes.append(len(client.receive_frame().payload))
            writer.join()
            assert 60_000 < max(sizes) <= 65_536


def test_bulk_data_pass_unchanged_over_tls_1_2(make_proxy: ProxyMaker) -> None:
    data = os.urandom(8 << 20)
    with make_proxy(extra_http="ssl_protocols TLSv1.2;") as proxy, WireClient(proxy).open() as client:
        assert client.socket.version() == "TLSv1.2"
        sender = threading.Thread(target=client.send_frame, args=(BINARY, data))
        sender.start()
        assert client.receive_bytes(len(data)) == data
        sender.join()


def test_two_sessions_at_once_do_not_mix(proxy: Proxy) -> None:
    assert proxy.backend.behaviour is echo
    first_data, second_data = os.urandom(3 << 20), os.urandom(3 << 20)
    with WireClient(proxy).open() as first, WireClient(proxy).open() as second:
        senders = [
            threading.Thread(target=client.send_frame, args=(BINARY, data))
            for client, data in ((first, first_data), (second, second_data))
        ]
        for sender in senders:
            sender.start()
        results: dict[int, bytes] = {}
        reader = threading.Thread(target=lambda: results.update({1: first.receive_bytes(len(first_data))}))
        reader.start()
        assert second.receive_bytes(len(second_data)) == second_data
        reader.join()
        assert results[1] == first_data


def send_pings(client: WireClient) -> None:
    """Send pings until the connection is gone."""
    with suppress(OSError):
        client.send(frame(PING, b"p" * 125) * 100_000)


def test_data_that_wait_for_a_pong_to_leave_are_not_touched_by_other_sessions(make_proxy: ProxyMaker) -> None:
    """All sessions of a worker share their buffers; what has to wait must have been taken out."""
    with make_proxy(send_timeout_ms=20000) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy, receive_buffer=8192).open() as slow, proxy.backend.accept() as slow_backend:
            pings = threading.Thread(target=send_pings, args=(slow,))
            pings.start()
            time.sleep(1)  # the pongs fill everything between, and one is stuck
            slow_backend.sendall(b"mine" * 250)
            time.sleep(0.2)
            with WireClient(proxy).open() as other, proxy.backend.accept() as other_backend:
                other_backend.sendall(b"not yours" * 5000)
                other.receive_bytes(45_000)
            while (received := slow.receive_frame()).opcode == PONG:
                pass
            assert received.payload == b"mine" * 250
            slow.abort()
            pings.join()
