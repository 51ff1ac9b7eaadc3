"""Reload and graceful stop with live sessions: each is told, at a moment of its own."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.proxy.conftest import ProxyMaker
from tests.proxy.nginx_harness import Proxy
from tests.proxy.wire import BINARY, CLOSE, CONTINUATION, PING, WireClient, close_payload, frame, wait_until

pytestmark = pytest.mark.machine

DRAIN_SECONDS = 2.0
SESSIONS = 40


@pytest.fixture
def draining(make_proxy: ProxyMaker) -> Iterator[Proxy]:
    """A proxy of two workers that has two seconds to let its sessions go."""
    with make_proxy(limits={"drain_timeout_ms": DRAIN_SECONDS * 1000}, worker_processes=2) as proxy:
        yield proxy


def open_sessions(proxy: Proxy, count: int) -> list[WireClient]:
    clients = [WireClient(proxy, timeout=15).open() for _ in range(count)]
    for client in clients:
        client.send_frame(BINARY, b"hello")
        assert client.receive_bytes(5) == b"hello"
    return clients


def await_closes(clients: list[WireClient]) -> list[float]:
    """Answer each session's close frame, which must be 1001; the seconds after which they came."""
    started = time.monotonic()
    times = []

    def answer(client: WireClient) -> None:
        close = client.receive_close()
        times.append(time.monotonic() - started)
        assert (close.code, close.payload[2:]) == (1001, b"server is going away")
        client.send_frame(CLOSE, close.payload)
        client.assert_ended()
        client.socket.close()

    threads = [threading.Thread(target=answer, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == len(clients)
    return sorted(times)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT], ids=["reload", "graceful stop"])
def test_sessions_are_closed_1001_spread_over_the_drain_time(draining: Proxy, number: signal.Signals) -> None:
    clients = open_sessions(draining, SESSIONS)
    draining.signal(number)
    times = await_closes(clients)
    assert times[-1] < DRAIN_SECONDS + 1.0
    assert times[-1] - times[0] > DRAIN_SECONDS / 2
    quarters = [sum(1 for t in times if low <= t / DRAIN_SECONDS * 4 < low + 1) for low in range(4)]
    assert max(quarters) < SESSIONS / 2


def test_bytes_under_way_when_the_worker_leaves_still_reach_the_backend(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"drain_timeout_ms": 100}) as proxy:
        proxy.backend.behaviour = None
        with WireClient(proxy).open() as client, proxy.backend.accept() as backend:
            proxy.signal(signal.SIGHUP)
            assert client.receive_close().code == 1001
            client.send(frame(BINARY, b"under ", fin=False) + frame(PING) + frame(CONTINUATION, b"way"))
            client.send_frame(CLOSE, close_payload(1001))
            received = b""
            while data := backend.recv(100):
                received += data
            assert received == b"under way"
            client.assert_ended()
        assert proxy.closed_session().bytes_lost == 0


def test_a_graceful_stop_ends_when_the_last_session_has(draining: Proxy) -> None:
    clients = open_sessions(draining, 5)
    draining.signal(signal.SIGQUIT)
    await_closes(clients)
    assert draining.wait(5) == 0


def test_an_idle_proxy_stops_at_once(draining: Proxy) -> None:
    draining.signal(signal.SIGQUIT)
    assert draining.wait(2) == 0


def test_a_session_works_until_its_moment_comes(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"drain_timeout_ms": 20000}) as proxy:
        clients = open_sessions(proxy, 8)
        proxy.signal(signal.SIGHUP)
        time.sleep(0.5)
        alive = 0
        for client in clients:
            client.send_frame(BINARY, b"still")
            received = client.receive_frame()
            alive += received.opcode == BINARY and received.payload == b"still"
        assert alive >= 6
        for client in clients:
            client.socket.close()


def test_new_sessions_are_served_by_the_new_workers_during_a_reload(draining: Proxy) -> None:
    old = set(draining.workers())
    clients = open_sessions(draining, 4)
    draining.signal(signal.SIGHUP)
    wait_until(lambda: len(set(draining.workers()) - old) == 2, 5, "no new workers")
    time.sleep(0.5)  # NGINX starts the new workers before it tells the old ones
    fresh = open_sessions(draining, 4)
    await_closes(clients)
    for client in fresh:
        client.send_frame(BINARY, b"kept")
        assert client.receive_bytes(4) == b"kept"
        client.close()
    wait_until(lambda: not old & set(draining.workers()), 8, "the old workers stayed")


def test_a_client_that_does_not_answer_does_not_keep_the_worker(draining: Proxy) -> None:
    old = set(draining.workers())
    clients = open_sessions(draining, 4)
    draining.signal(signal.SIGHUP)
    wait_until(lambda: not old & set(draining.workers()), DRAIN_SECONDS + 13, "the old workers stayed")
    for client in clients:
        client.socket.close()


def test_a_session_that_is_opened_while_the_worker_leaves_is_drained_too(make_proxy: ProxyMaker) -> None:
    """A connection accepted before the signal may bring its request after it."""
    with make_proxy(limits={"drain_timeout_ms": 1000}) as proxy:
        old = proxy.workers()[0]
        anchor = open_sessions(proxy, 1)
        with WireClient(proxy) as late:
            late.send(late.request()[:20])
            time.sleep(0.2)
            proxy.signal(signal.SIGHUP)
            wait_until(lambda: len(proxy.workers()) == 2, 5, "no new worker")
            late.send(late.request()[20:])
            if late.response().status == 101:
                assert late.receive_close().code == 1001
        for client in anchor:
            client.socket.close()
        wait_until(lambda: old not in proxy.workers(), 13, "the old worker stayed")


def test_a_killed_worker_is_replaced(make_proxy: ProxyMaker) -> None:
    with make_proxy() as proxy:
        clients = open_sessions(proxy, 2)
        old = proxy.workers()[0]
        subprocess.run(["kill", "-KILL", str(old)], check=True)
        wait_until(lambda: proxy.workers() != [] and proxy.workers() != [old], 5, "no new worker")
        for client in clients:
            client.socket.close()
        open_sessions(proxy, 1)[0].close()
