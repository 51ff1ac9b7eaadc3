"""A WebSocket client that does exactly what a test tells it to, right or wrong (RFC 6455, section 5)."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.proxy.nginx_harness import Proxy

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of the RFC's example, whose answer is known
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class ConnectionEndedError(Exception):
    """The peer closed or reset the connection."""


def mask(payload: bytes, key: bytes) -> bytes:
    """Exclusive-or with the repeated key; its own inverse."""
    length = len(payload)
    if not length:
        return b""
    pad = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")


def header(opcode: int, length: int, *, fin: bool = True, reserved: int = 0, key: bytes | None = None) -> bytes:
    """A frame's header; `reserved` are the three reserved bits, `key` None leaves the frame unmasked."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    flag = 0x80 if key is not None else 0
    if length < 126:
        start = struct.pack("!BB", first, flag | length)
    elif length < 65536:
        start = struct.pack("!BBH", first, flag | 126, length)
    else:
        start = struct.pack("!BBQ", first, flag | 127, length)
    return start + (key or b"")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A whole frame with a random key."""
    key = os.urandom(4) if masked else None
    start = header(opcode, len(payload), fin=fin, reserved=reserved, key=key)
    return start + (mask(payload, key) if key is not None else payload)


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """The payload of a close frame."""
    return struct.pack("!H", code) + reason


@dataclass(frozen=True)
class Frame:
    """A frame as it was received."""

    opcode: int
    payload: bytes
    fin: bool
    reserved: int
    masked: bool

    @property
    def code(self) -> int | None:
        """A close frame's code; None if it is empty."""
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) >= 2 else None


@dataclass(frozen=True)
class Response:
    """The answer to the opening handshake."""

    status: int
    headers: Mapping[str, str]


class TlsStream:
    """A TLS connection that one thread may read while another writes.

    OpenSSL's connection objects must not be used by two threads at once, and Python's SSLSocket lets it happen. Here
    the object works on memory, guarded by a lock, and the socket is read and written outside it.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self.plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._lock, self._sending = threading.Lock(), threading.Lock()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
        self._flush()

    def _flush(self) -> None:
        with self._sending:
            with self._lock:
                data = self._outgoing.read()
            if data:
                self.plain.sendall(data)

    def _fill(self) -> None:
        data = self.plain.recv(262144)
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of `data`."""
        view = memoryview(data)
        for at in range(0, len(view), 1 << 20):
            with self._lock:
                self._tls.write(view[at : at + (1 << 20)])
            self._flush()

    def recv(self, size: int) -> bytes:
        """The next bytes; none if the peer has ended the TLS session in order. Raises ssl.SSLError if it has not.

        It never sends: what waits to be sent is the other thread's, and a reader that helps with it stops reading.
        """
        while True:
            try:
                with self._lock:
                    return self._tls.read(size)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                self._fill()

    def pending(self) -> int:
        """Bytes that recv() would return without waiting, as far as is known."""
        with self._lock:
            return self._tls.pending() + self._incoming.pending

    def version(self) -> str | None:
        """The protocol's version."""
        return self._tls.version()

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self.plain.fileno()

    def close(self) -> None:
        """Close the TCP connection, without further words."""
        self.plain.close()


class WireClient:
    """One connection to the proxy. Reading methods raise TimeoutError after the socket's timeout."""

    def __init__(self, proxy: Proxy, timeout: float = 10.0, receive_buffer: int | None = None) -> None:
        plain = socket.socket()
        plain.settimeout(timeout)
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.connect((proxy.host, proxy.wss_port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = TlsStream(plain, proxy.tls_context(), proxy.host)
        self._token = proxy.token()
        self._host = f"{proxy.host}:{proxy.wss_port}"
        self._buffer = bytearray()

    def request(
        self, headers: Mapping[str, str | None] | None = None, *, method: str = "GET", version: str = "1.1"
    ) -> bytes:
        """The opening request; `headers` replace or, with None, drop the usual ones."""
        lines: dict[str, str | None] = {
            "Host": self._host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Version": "13",
            "Authorization": f"Bearer {self._token}" if self._token else None,
        }
        lines.update(headers or {})
        text = f"{method} / HTTP/{version}\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        return text.encode() + b"\r\n"

    def handshake(
        self,
        headers: Mapping[str, str | None] | None = None,
        *,
        method: str = "GET",
        version: str = "1.1",
        early: bytes = b"",
    ) -> Response:
        """Send the opening request, with `early` bytes right behind it, and read the answer's head."""
        self.send(self.request(headers, method=method, version=version) + early)
        return self.response()

    def response(self) -> Response:
        """Read the head of an HTTP response."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        status, *fields = head.decode("latin-1").split("\r\n")
        pairs = (field.split(": ", 1) for field in fields)
        return Response(int(status.split()[1]), {name.lower(): value for name, value in pairs})

    def open(self, headers: Mapping[str, str | None] | None = None) -> Self:
        """Do the handshake; it must be accepted."""
        response = self.handshake(headers)
        assert response.status == 101, response
        return self

    def send(self, data: bytes | memoryview) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True
    ) -> None:
        """Send one frame."""
        self.send(frame(opcode, payload, fin=fin, reserved=reserved, masked=masked))

    def _more(self) -> None:
        try:
            data = self.socket.recv(262144)
        except (ConnectionError, ssl.SSLError) as error:
            raise ConnectionEndedError(str(error)) from error
        if not data:
            raise ConnectionEndedError("end of stream")
        self._buffer += data

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def receive_frame(self) -> Frame:
        """The next frame, whatever it is."""
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            length = struct.unpack("!H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self._take(8))[0]
        masked = bool(second & 0x80)
        key = self._take(4) if masked else b""
        payload = self._take(length)
        return Frame(first & 0x0F, mask(payload, key) if key else payload, bool(first & 0x80), first >> 4 & 7, masked)

    def receive_bytes(self, count: int) -> bytes:
        """Payload bytes of the next binary messages, exactly `count` of them in whole frames."""
        data = bytearray()
        while len(data) < count:
            received = self.receive_frame()
            assert received.opcode == BINARY, received
            data += received.payload
        assert len(data) == count
        return bytes(data)

    def receive_close(self) -> Frame:
        """The close frame, which must come next."""
        received = self.receive_frame()
        assert received.opcode == CLOSE, received
        return received

    def close(self, code: int = 1000, reason: bytes = b"") -> Frame:
        """The closing handshake from this side: send, and return the answer; data before it are dropped."""
        self.send_frame(CLOSE, close_payload(code, reason))
        while (received := self.receive_frame()).opcode != CLOSE:
            pass
        return received

    def assert_ended(self) -> None:
        """The proxy must have closed the connection, in order, with nothing left to read."""
        assert not self._buffer
        assert self.socket.recv(1) == b""

    def abort(self) -> None:
        """Reset the TCP connection."""
        self.socket.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


def wait_until(condition: object, seconds: float, message: str) -> None:
    """Wait for a callable to become true."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.02)
