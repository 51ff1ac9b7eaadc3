"""A name server on loopback for which every name is 127.0.0.1 (RFC 1035, section 4)."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

POINTER_TO_QUESTION = b"\xc0\x0c"
ADDRESS_RECORD = b"\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x7f\x00\x00\x01"  # type A, class IN, 5 s, 127.0.0.1
RESPONSE_FLAGS = b"\x84\x00"
ONE_QUESTION_ONE_ANSWER = b"\x00\x01\x00\x01\x00\x00\x00\x00"


class NameServer:
    """`address` is what NGINX's `resolver` takes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            question = query[12 : query.index(b"\0", 12) + 5]
            head = query[:2] + RESPONSE_FLAGS + ONE_QUESTION_ONE_ANSWER
            self._socket.sendto(head + question + POINTER_TO_QUESTION + ADDRESS_RECORD, client)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
