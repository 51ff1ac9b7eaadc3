"""A WebSocket client of the smallest kind (RFC 6455): one handshake, binary frames, no extensions."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct
from pathlib import Path
from types import TracebackType

TIMEOUT_SECONDS = 20
ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocket:
    """An attempt to open `wss://localhost:PORT/`: `status` is the HTTP answer, 101 when the connection is open."""

    def __init__(self, port: int, authority: Path, token: str | None) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        try:
            self._socket = context.wrap_socket(plain, server_hostname="localhost")
        except OSError:
            plain.close()
            raise
        self._buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.status, self.headers = self._handshake(port, key, token)
        accept = base64.b64encode(hashlib.sha1((key + ACCEPT_SUFFIX).encode()).digest()).decode()  # noqa: S324
        if self.status == 101 and self.headers.get("sec-websocket-accept") != accept:
            raise ConnectionError("the proxy's Sec-WebSocket-Accept does not answer our key")

    def _handshake(self, port: int, key: str, token: str | None) -> tuple[int, dict[str, str]]:
        lines = [
            "GET / HTTP/1.1",
            f"Host: localhost:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: binary",
            f"Sec-WebSocket-Key: {key}",
        ]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status_line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        return int(status_line.split(" ")[1]), headers

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the proxy closed the connection")
        self._buffer += data

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def send(self, payload: bytes, opcode: int = BINARY) -> None:
        """One masked frame (section 5.2)."""
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
        mask = os.urandom(4)
        pattern = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        masked = (int.from_bytes(payload, "big") ^ pattern).to_bytes(length, "big")
        self._socket.sendall(head + mask + masked)

    def receive(self, count: int) -> bytes:
        """The next `count` bytes of payload, over as many frames as they take; pings are answered."""
        collected = b""
        while len(collected) < count:
            opcode, payload = self._frame()
            if opcode == PING:
                self.send(payload, PONG)
            elif opcode == CLOSE:
                raise ConnectionError(f"the proxy closed after {len(collected)} of {count} bytes: {payload!r}")
            elif opcode != PONG:
                collected += payload
        return collected

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._take(8))
        return first & 0x0F, self._take(length)

    def close(self) -> None:
        if self.status == 101:
            self.send(struct.pack(">H", 1000), CLOSE)
        self._socket.close()

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
