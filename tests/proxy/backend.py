"""A plain TCP server whose every connection a test can hold in its hands."""

from __future__ import annotations

import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self

Behaviour = Callable[[socket.socket], None]


def echo(connection: socket.socket) -> None:
    """Send back what comes, and end when the other side does."""
    while data := connection.recv(262144):
        connection.sendall(data)


def flood(connection: socket.socket) -> None:
    """Send without end, and read nothing."""
    while True:
        connection.sendall(b"f" * 65536)


def ignore_end(connection: socket.socket) -> None:
    """Echo, and stay when the other side has said that it is done."""
    echo(connection)
    time.sleep(60)


def reset(connection: socket.socket) -> None:
    """End a connection with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Backend:
    """Listens on a free port of 127.0.0.1.

    `behaviour` is what a thread does with each accepted connection, which is closed afterwards. With `behaviour` None a
    connection waits in a queue for the test to take it with `accept()`.
    """

    def __init__(self, behaviour: Behaviour | None = echo, receive_buffer: int | None = None) -> None:
        self.behaviour = behaviour
        self._accepted = 0
        self._counting = threading.Lock()
        self._queue: queue.Queue[socket.socket] = queue.Queue()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._listener.listen(1024)
        self._listener.settimeout(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                select.select([self._listener], [], [])
                with self._counting:
                    connection, _ = self._listener.accept()
                    self._accepted += 1
            except TimeoutError:  # the client has gone already
                continue
            except (OSError, ValueError):  # closed
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.behaviour is None:
                self._queue.put(connection)
            else:
                threading.Thread(target=self._run, args=(self.behaviour, connection), daemon=True).start()

    @property
    def accepted(self) -> int:
        """How many connections have been made to it, those included that still wait to be accepted."""
        with suppress(OSError, ValueError):
            while select.select([self._listener], [], [], 0)[0]:
                time.sleep(0.001)
        with self._counting:
            return self._accepted

    @staticmethod
    def _run(behaviour: Behaviour, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            behaviour(connection)

    def accept(self, timeout: float = 10.0) -> socket.socket:
        """The next connection, when `behaviour` is None; the test closes it."""
        connection = self._queue.get(timeout=timeout)
        connection.settimeout(timeout)
        return connection

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def full_listener() -> Iterator[int]:
    """The port of a listener whose queue is full: a connection to it is never answered."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        time.sleep(0.1)
        yield port
