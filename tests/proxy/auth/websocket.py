"""The little of a WebSocket client that these tests need once a session is open (RFC 6455, section 5)."""

from __future__ import annotations

import struct
import time
from contextlib import suppress

from tests.proxy.auth.proxy import Answer
from tests.proxy.wire import BINARY, CLOSE, PING, frame


def echo(session: Answer, payload: bytes) -> bytes:
    """Send a message; what comes back."""
    session.socket.sendall(frame(BINARY, payload))
    received = b""
    while len(received) < len(payload):
        opcode, content = read_frame(session)
        assert opcode in (BINARY, PING), (opcode, content)
        if opcode == BINARY:
            received += content
    return received


def read_frame(session: Answer) -> tuple[int, bytes]:
    first, second = take(session, 2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", take(session, 2))
    return first & 0x0F, take(session, length)


def take(session: Answer, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = session.socket.recv(count - len(data))
        if not chunk:
            raise ConnectionError("the proxy closed the connection")
        data += chunk
    return data


def wait_for_close(session: Answer) -> tuple[int, float]:
    """The code of the close frame, and when it came (time.time())."""
    while True:
        opcode, content = read_frame(session)
        if opcode == CLOSE:
            when = time.time()
            with suppress(OSError):
                session.socket.sendall(frame(CLOSE, content[:2]))
            return struct.unpack("!H", content[:2])[0], when


def close(session: Answer) -> None:
    with suppress(OSError):
        session.socket.sendall(frame(CLOSE, struct.pack("!H", 1000)))
        wait_for_close(session)
    session.socket.close()
