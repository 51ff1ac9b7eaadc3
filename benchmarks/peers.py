"""The two ends of what is measured: a backend process that does as it is told, and clients."""

from __future__ import annotations

import multiprocessing
import os
import selectors
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from benchmarks.systems import System
from tests.proxy.wire import BINARY, KEY, frame

# Without any progress for so long, a session has stalled. The backend, which serves one transfer at a time, gives it up
# first.
TIMEOUT, BACKEND_TIMEOUT = 20.0, 10.0
READ_SIZE = 1 << 18
COMMAND_SIZE = 32
DONE = b"done"
REQUEST = (
    f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n"
)


def command(kind: str, size: int, total: int) -> bytes:
    """What a session's first bytes tell the backend: take or give `total` bytes. Anything else is echoed."""
    return f"{kind} {size} {total}".encode().ljust(COMMAND_SIZE)


def _obey(connection: socket.socket, data: bytes) -> None:
    while len(data) < COMMAND_SIZE:
        data += connection.recv(COMMAND_SIZE - len(data))
    kind, size, total = data[:COMMAND_SIZE].split()
    if kind == b"take":
        buffer = bytearray(READ_SIZE)
        left = int(total) - (len(data) - COMMAND_SIZE)
        while left > 0:
            count = connection.recv_into(buffer)
            if not count:
                return
            left -= count
        connection.sendall(DONE)
    else:
        piece = os.urandom(int(size))
        for _ in range(int(total) // int(size)):
            connection.sendall(piece)


def _answer(connection: socket.socket) -> bool:
    data = connection.recv(4096)
    if data.startswith((b"take", b"give")):
        connection.settimeout(BACKEND_TIMEOUT)
        _obey(connection, data)
    elif data:
        connection.sendall(data)
    return bool(data)


def _serve(port: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=8192)
    port.send(listener.getsockname()[1])
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            connection = key.fileobj
            if not isinstance(connection, socket.socket):
                raise TypeError("only sockets are registered")
            if connection is listener:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ)
                continue
            alive = False
            with suppress(OSError):
                alive = _answer(connection)
            if not alive:
                selector.unregister(connection)
                connection.close()


@contextmanager
def backend() -> Iterator[int]:
    """The port of a backend process that serves all sessions."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def connect(system: System, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A session, with its WebSocket handshake done if the system speaks WebSocket."""
    plain = socket.create_connection(("127.0.0.1", system.port), timeout=TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = context.wrap_socket(plain, server_hostname="127.0.0.1")
    if not system.websocket:
        return client
    authorization = f"Authorization: Bearer {system.token}\r\n" if system.token else ""
    client.sendall(f"{REQUEST}{authorization}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(4096)
        head += data
        if not data:
            break
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"{system.name} refused the handshake: {head!r}")
    return client


def message(system: System, payload: bytes) -> bytes:
    """What a client sends to pass on these bytes: a masked frame where the system speaks WebSocket."""
    return frame(BINARY, payload) if system.websocket else payload


def hold_sessions(system: System, count: int, pipe: Connection) -> None:
    """Process: open sessions, exchange 64 bytes in each, say so, and hold them until told to end."""
    context = system.context()
    data = message(system, b"e" * 64)
    clients = []
    for _ in range(count):
        client = connect(system, context)
        client.sendall(data)
        client.recv(4096)
        clients.append(client)
    pipe.send(True)
    pipe.recv()
