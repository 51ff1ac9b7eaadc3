"""Many silent sessions, kept for a while, then sent away by a reload or a graceful stop."""

from __future__ import annotations

import multiprocessing
import selectors
import signal
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.peers import backend
from tests.proxy.nginx_harness import Proxy, running_proxy
from tests.proxy.wire import CLOSE, PING, PONG, WireClient, frame

WORKERS = 4  # a session takes two file descriptors of a worker, which has 20,000 here
HOLDERS = 2
GOING_AWAY = 1001


@dataclass(frozen=True)
class Idle:
    """What to do: how many sessions for how many seconds, the drain time in seconds, and how it ends."""

    sessions: int
    seconds: float
    drain: float
    ending: str  # "reload" or "graceful stop"
    read_timeout: float = 60.0


@dataclass
class IdleResult:
    """What came of it. Times of closes are seconds after the signal."""

    asked: Idle
    opened: int = 0
    alive: int = 0
    pings: int = 0
    closes: list[float] = field(default_factory=list)
    codes: Counter[int | None] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    @property
    def going_away(self) -> int:
        """Sessions closed with 1001."""
        return self.codes[GOING_AWAY]

    @property
    def first(self) -> float:
        """When the first was closed."""
        return min(self.closes, default=0.0)

    @property
    def last(self) -> float:
        """When the last was closed."""
        return max(self.closes, default=0.0)

    @property
    def quarters(self) -> list[int]:
        """Closes in each quarter of the drain time."""
        part = self.asked.drain / 4
        return [sum(1 for at in self.closes if index * part <= at < (index + 1) * part) for index in range(4)]

    @property
    def holds(self) -> bool:
        """All opened, all alive until the end, all pinged, all closed with 1001 and spread over the drain time."""
        count = self.asked.sessions
        spread = min(self.quarters) > count / 8 if count >= 100 else True
        pinged = self.pings >= count if self.asked.seconds > self.asked.read_timeout else True
        everyone = self.opened == self.alive == self.going_away == count
        return everyone and spread and pinged and self.last < self.asked.drain + 5 and not self.errors


class _Holder:
    """Holds sessions in a process of its own: answers pings, counts, and answers closes."""

    def __init__(self, proxy: Proxy, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.pings = 0
        self.closed: list[tuple[float, int | None]] = []
        self.open = 0
        for _ in range(count):
            client = WireClient(proxy, timeout=60).open()
            self._selector.register(client.socket.plain, selectors.EVENT_READ, client)
            self.open += 1
            self.serve(time.monotonic())  # opening many takes longer than the first may be silent

    def serve(self, until: float) -> None:
        """Answer what comes until a moment (time.monotonic()), or until no session is left."""
        while self.open:
            left = until - time.monotonic()
            for key, _ in self._selector.select(max(0.0, min(left, 0.5))):
                self._answer(key.data)
            if left <= 0:
                return

    def _answer(self, client: WireClient) -> None:
        try:
            while True:
                received = client.receive_frame()
                if received.opcode == PING:
                    self.pings += 1
                    client.send(frame(PONG, received.payload))
                elif received.opcode == CLOSE:
                    client.send(frame(CLOSE, received.payload))
                    self._drop(client, received.code)
                    return
                if not client.socket.pending():
                    return
        except (OSError, ssl.SSLError, RuntimeError):
            self._drop(client, None)

    def _drop(self, client: WireClient, code: int | None) -> None:
        self.closed.append((time.monotonic(), code))
        self._selector.unregister(client.socket.plain)
        client.socket.close()
        self.open -= 1


def _hold(proxy: Proxy, asked: Idle, count: int, pipe: Connection) -> None:
    """Process: open, report; hold until told, report; serve until all are closed, report."""
    holder = _Holder(proxy, count)
    pipe.send(holder.open)
    while not pipe.poll():
        holder.serve(time.monotonic() + 0.2)
    pipe.recv()
    pipe.send((holder.open, holder.pings))
    holder.serve(time.monotonic() + asked.drain + 15)
    pipe.send(holder.closed)


def hold_idle(root: Path, asked: Idle) -> IdleResult:
    """Open the sessions, hold them, send the signal, and see how they end."""
    result = IdleResult(asked)
    options: dict[str, object] = {
        "worker_processes": WORKERS,
        "worker_connections": 16384,
        "read_timeout_ms": int(asked.read_timeout * 1000),
        "limits": {"drain_timeout_ms": int(asked.drain * 1000)},
    }
    with backend() as port, running_proxy(root, backend_port=port, **options) as proxy:
        pipes = []
        for index in range(HOLDERS):
            ours, theirs = multiprocessing.Pipe()
            count = asked.sessions // HOLDERS + (index < asked.sessions % HOLDERS)
            multiprocessing.Process(target=_hold, args=(proxy, asked, count, theirs), daemon=True).start()
            pipes.append(ours)
        result.opened = sum(pipe.recv() for pipe in pipes)
        time.sleep(asked.seconds)
        for pipe in pipes:
            pipe.send(True)
        for pipe in pipes:
            alive, pings = pipe.recv()
            result.alive += alive
            result.pings += pings
        started = time.monotonic()
        proxy.signal(signal.SIGHUP if asked.ending == "reload" else signal.SIGQUIT)
        for pipe in pipes:
            for at, code in pipe.recv():
                result.closes.append(at - started)
                result.codes[code] += 1
        result.errors = proxy.errors()
    return result
