"""Much data through one session, compared by hash."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.proxy.nginx_harness import Proxy, resident, running_proxy
from tests.proxy.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, WireClient, close_payload, frame, header, mask

POOL = 32 << 20
SIZES = (0, 1, 2, 125, 126, 127, 1000, 1400, 4096, 16384, 65535, 65536, 65537, 200_000, 1_000_000)
WARM_UP = 64 << 20  # what is allocated once is not growth
READ_SIZE = 1 << 18


@dataclass(frozen=True)
class StreamResult:
    """Of stream_both_ways(): amounts, whether the hashes agree, the worker's growth in bytes, error log lines."""

    up_bytes: int
    up_frames: int
    up_equal: bool
    down_bytes: int
    down_frames: int
    down_equal: bool
    growth: int
    seconds: float
    errors: list[str]


@dataclass(frozen=True)
class FrameResult:
    """Of send_one_frame()."""

    size: int
    equal: bool
    growth: int
    seconds: float


class Pool:
    """Random bytes, and the same bytes masked, to cut any number of different pieces from without making new ones."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self.key = source.randbytes(4)
        self._plain = os.urandom(POOL)
        self._masked = mask(self._plain, self.key)

    def piece(self, size: int) -> tuple[memoryview, memoryview]:
        """`size` bytes from a random place (of whole keys), plain and masked."""
        at = self._source.randrange((POOL - size) // 4) * 4
        return memoryview(self._plain)[at : at + size], memoryview(self._masked)[at : at + size]


def _fragments(source: random.Random, pool: Pool, total: int) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Headers and payloads of random messages of `total` bytes in all, in random fragments, with pings between."""
    inside = False
    left = total
    while left:
        size = min(left, source.choice(SIZES))
        left -= size
        fin = not left or source.random() < 0.4
        plain, masked = pool.piece(size)
        start = header(CONTINUATION if inside else BINARY, size, fin=fin, key=pool.key)
        if source.random() < 0.02:
            start = frame(PING, source.randbytes(source.randrange(126))) + start
        yield start, plain, masked
        inside = not fin


def _backend(port: Connection, total: int, seed: int) -> None:
    """Process: take a session, send `total` random bytes while hashing what comes, and report both hashes."""
    source = random.Random(seed)  # noqa: S311 - reproducible on purpose
    pool = Pool(source)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port.send(listener.getsockname()[1])
        connection, _ = listener.accept()
    sent, received = hashlib.sha256(), hashlib.sha256()

    def send() -> None:
        left = total
        while left:
            piece, _ = pool.piece(min(left, source.choice(SIZES[1:])))
            connection.sendall(piece)
            sent.update(piece)
            left -= len(piece)

    sender = threading.Thread(target=send)
    sender.start()
    buffer = bytearray(READ_SIZE)
    while count := connection.recv_into(buffer):
        received.update(memoryview(buffer)[:count])
    sender.join()
    connection.close()
    port.send((sent.hexdigest(), received.hexdigest()))


def _receive(client: WireClient, total: int, result: dict[str, object]) -> None:
    """Thread: hash `total` bytes of messages."""
    digest, frames, left = hashlib.sha256(), 0, total
    while left:
        received = client.receive_frame()
        if received.opcode == BINARY:
            digest.update(received.payload)
            left -= len(received.payload)
            frames += 1
        elif received.opcode not in (PING, PONG):
            raise RuntimeError(f"the session ended with {left} bytes to come: {received}")
    result.update(hash=digest.hexdigest(), frames=frames)


def stream_both_ways(root: Path, total: int, seed: int = 1) -> StreamResult:
    """`total` random bytes up in random fragments, and as many down, at the same time."""
    source = random.Random(seed)  # noqa: S311 - reproducible on purpose
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_backend, args=(theirs, total, seed + 1), daemon=True)
    process.start()
    with running_proxy(root, backend_port=ours.recv(), send_timeout_ms=60000) as proxy:
        with WireClient(proxy, timeout=120).open() as client:
            down: dict[str, object] = {}
            receiver = threading.Thread(target=_receive, args=(client, total, down))
            receiver.start()
            memory = _Memory(proxy)
            digest, frames, sent, started = hashlib.sha256(), 0, 0, time.monotonic()
            for start, plain, masked in _fragments(source, Pool(source), total):
                client.send(start + masked)
                digest.update(plain)
                frames += 1
                sent += len(plain)
                memory.note(sent)
            receiver.join()
            client.send_frame(CLOSE, close_payload(1000))
            sent_hash, received_hash = ours.recv()
            growth = memory.growth()
            seconds = time.monotonic() - started
        return StreamResult(
            up_bytes=total,
            up_frames=frames,
            up_equal=digest.hexdigest() == received_hash,
            down_bytes=total,
            down_frames=int(str(down.get("frames", 0))),
            down_equal=down.get("hash") == sent_hash,
            growth=growth,
            seconds=seconds,
            errors=proxy.errors(),
        )


class _Memory:
    """Resident memory of a proxy's worker, from when a session is warm."""

    def __init__(self, proxy: Proxy) -> None:
        self._worker = proxy.workers()[0]
        self._warm: int | None = None
        self._largest = 0
        self._next = 0

    def note(self, sent: int) -> None:
        """Look, about every 16 MB."""
        if sent < self._next:
            return
        self._next = sent + (16 << 20)
        now = resident(self._worker)
        if self._warm is None and sent >= WARM_UP:
            self._warm = now
        self._largest = max(self._largest, now)

    def growth(self) -> int:
        """The largest growth after the session was warm."""
        return self._largest - self._warm if self._warm is not None else 0


def send_one_frame(root: Path, size: int) -> FrameResult:
    """One binary frame of `size` bytes."""
    with running_proxy(root, send_timeout_ms=60000) as proxy:
        received = hashlib.sha256()
        proxy.backend.behaviour = lambda connection: _hash_all(connection, received)
        with WireClient(proxy, timeout=120).open() as client:
            worker = proxy.workers()[0]
            before, largest, started = resident(worker), 0, time.monotonic()
            key = b"\x11\x22\x33\x44"
            plain = os.urandom(1 << 20)
            masked = mask(plain, key)
            sent = hashlib.sha256()
            client.send(header(BINARY, size, key=key))
            for at in range(0, size, len(plain)):
                count = min(len(plain), size - at)
                client.send(masked[:count])
                sent.update(plain[:count])
                largest = max(largest, resident(worker))
            client.close()
            seconds = time.monotonic() - started
        proxy.closed_session()
        return FrameResult(size, sent.digest() == received.digest(), largest - before, seconds)


def _hash_all(connection: socket.socket, digest: hashlib._Hash) -> None:
    buffer = bytearray(READ_SIZE)
    while count := connection.recv_into(buffer):
        digest.update(memoryview(buffer)[:count])
