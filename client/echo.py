"""The comparison at the heart of scenario 3: the bytes that come back are the bytes that went out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from client.results import ExpectationError
from client.session import Session

SETTLE_SECONDS = 0.2
"""How long to wait, after the last expected byte, for a byte too many."""

_CONTEXT = 8


@dataclass(frozen=True)
class EchoSummary:
    """A successful exchange: lines and bytes each way, in how many frames the bytes came back, and how it ended."""

    lines: int
    size: int
    frames: int
    closed_cleanly: bool


class Comparison:
    """Compares a received byte stream with the expected one, whatever pieces it comes in."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self.received = 0
        self.frames = 0

    @property
    def complete(self) -> bool:
        """Whether every expected byte has come."""
        return self.received == len(self._expected)

    def feed(self, chunk: bytes) -> None:
        """Takes the next piece; raises ExpectationError with the offset of the first byte that differs."""
        start = self.received
        expected = self._expected[start : start + len(chunk)]
        if chunk != expected:
            pairs = enumerate(zip(chunk, expected, strict=False))
            common = next((index for index, (came, wanted) in pairs if came != wanted), len(expected))
            self._differs(start + common, chunk[common:])
        self.received += len(chunk)
        self.frames += 1

    @property
    def expected_size(self) -> int:
        """Bytes expected in all."""
        return len(self._expected)

    def progress(self) -> str:
        """How far the stream got, for an error message."""
        return f"{self.received} of {len(self._expected)} bytes, all of them right"

    def _differs(self, offset: int, received: bytes) -> None:
        if offset == len(self._expected):
            raise ExpectationError(
                f"{offset} bytes back and no more",
                f"an extra byte at offset {offset}: {received[:_CONTEXT].hex(' ')}",
                _DAMAGE,
            )
        line = self._expected.count(b"\n", 0, offset) + 1
        raise ExpectationError(
            f"the same bytes back: at offset {offset} (line {line}) "
            f"{self._expected[offset : offset + _CONTEXT].hex(' ')}",
            f"first difference at offset {offset}: {received[:_CONTEXT].hex(' ')}",
            _DAMAGE,
        )


_DAMAGE = "bytes were changed, lost, added or reordered on the way: is the application behind the proxy an echo server?"


def make_lines(count: int, size: int) -> list[bytes]:
    """Makes `count` lines of `size` random bytes, the last of them the only newline.

    Every other byte value occurs, so a path that is not clean for binary data shows; no two runs are alike, so an old
    answer cannot pass for a new one.
    """
    return [os.urandom(size - 1).replace(b"\n", b"\v") + b"\n" for _ in range(count)]


async def echo(
    session: Session, lines: Sequence[bytes], timeout: float, *, allow_missing_close: bool = False
) -> EchoSummary:
    """Sends each line as one message, expects the same bytes back and a clean close with 1000.

    With `allow_missing_close` the connection's end is enough of an answer to our close frame: the websockify bridge
    never sends one.
    Raises ExpectationError at the first byte that differs, and when the exchange takes longer than `timeout` seconds.
    """
    comparison = Comparison(b"".join(lines))
    complete = asyncio.Event()

    async def read() -> None:
        async for chunk in session.chunks():
            comparison.feed(chunk)
            if comparison.complete:
                complete.set()

    async def write() -> None:
        for line in lines:
            if not await session.send(line):
                return

    tasks = [asyncio.create_task(read()), asyncio.create_task(write()), asyncio.create_task(complete.wait())]
    reader, _, completion = tasks
    try:
        await asyncio.wait({reader, completion}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not reader.done() and not completion.done():
            code = session.close_code
            closed = f"; close code {code} came, but not the connection's end" if code else ""
            raise ExpectationError(
                f"the {comparison.expected_size} bytes sent back within {timeout:g} s",
                f"{comparison.progress()}, when the time ran out{closed}",
                "is the application behind the proxy an echo server, and is it up? --timeout allows more time",
            )
        await asyncio.wait({reader}, timeout=SETTLE_SECONDS)
        if reader.done():
            await reader
            raise ExpectationError(
                "the session open until this client closes it",
                f"{session.ending}, after {comparison.progress()}",
                session.ending.remedy,
            )
        session.start_close()
        await reader
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not session.ending.clean and not (allow_missing_close and session.ending.unanswered):
        raise ExpectationError("a clean close with code 1000", f"{session.ending}", session.ending.remedy)
    return EchoSummary(len(lines), comparison.received, comparison.frames, session.ending.clean)
