"""`send`: stdin through a session, and what comes back to stdout."""

from __future__ import annotations

import asyncio
import codecs
import os
from dataclasses import dataclass
from typing import BinaryIO

from client.network import deadline
from client.results import ExpectationError
from client.session import Ending, Session
from client.terminal import escape

# Below the 65,535 bytes to which the websockify bridge limits a frame.
_READ_SIZE = 32 * 1024


@dataclass(frozen=True)
class PipeSummary:
    """What went through, in bytes, and how the session ended."""

    sent: int
    received: int
    ending: Ending


class _Output:
    """Writes received bytes: as they are to a file or pipe, escaped to a terminal."""

    def __init__(self, stream: BinaryIO, *, terminal: bool) -> None:
        self._stream = stream
        # Incremental: a character of several bytes may be split over frames.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace") if terminal else None

    def write(self, chunk: bytes, *, final: bool = False) -> None:
        if self._decoder is not None:
            lines = self._decoder.decode(chunk, final).split("\n")
            chunk = "\n".join(escape(line) for line in lines).encode()
        self._stream.write(chunk)
        self._stream.flush()


async def pipe(
    session: Session, stdin: int, stdout: BinaryIO, *, terminal: bool, linger: float, timeout: float
) -> PipeSummary:
    """Sends what the file descriptor `stdin` holds and writes what comes back, until either side is done.

    After the end of stdin the session is closed once nothing came back for `linger` seconds; the application has no
    other way to say that it has finished. Each message must leave within `timeout` seconds. Raises ExpectationError
    if the session does not end cleanly or ends before all input was sent.
    """
    loop = asyncio.get_running_loop()
    output = _Output(stdout, terminal=terminal)
    sent = received = 0
    unsent = False  # input was read that the session has not taken yet
    last_activity = loop.time()

    async def read() -> None:
        nonlocal received, last_activity
        async for chunk in session.chunks():
            received += len(chunk)
            last_activity = loop.time()
            # In a thread: a reader of stdout that is slow must stop neither sending nor Ctrl-C.
            await loop.run_in_executor(None, output.write, chunk)
        await loop.run_in_executor(None, lambda: output.write(b"", final=True))

    async def write() -> None:
        nonlocal sent, unsent, last_activity
        while chunk := await loop.run_in_executor(None, os.read, stdin, _READ_SIZE):
            unsent = True
            async with deadline(timeout, "the proxy to take more input", f"{sent} bytes taken, then no more"):
                if not await session.send(chunk):
                    raise ExpectationError(
                        "the session open until all input is sent", f"only {sent} bytes sent, then the session ended"
                    )
            unsent = False
            sent += len(chunk)
            last_activity = loop.time()

    reader, writer = asyncio.create_task(read()), asyncio.create_task(write())
    try:
        await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        if writer.done() and not reader.done():
            await writer
            while not reader.done() and (left := last_activity + linger - loop.time()) > 0:
                await asyncio.wait({reader}, timeout=left)
            session.start_close()
        await reader
        # A writer that only waits for more input has nothing to lose when the application ends the session.
        if unsent or writer.done():
            await writer
    finally:
        reader.cancel()
        writer.cancel()
        await asyncio.gather(reader, writer, return_exceptions=True)
    ending = session.ending
    if not ending.clean:
        raise ExpectationError("a clean close with code 1000", f"{ending}", ending.remedy)
    return PipeSummary(sent, received, ending)
