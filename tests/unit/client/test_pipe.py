"""`send`'s loop by itself, where two sides finish in an order that no real network can be made to repeat."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from typing import cast

import pytest

from client.pipe import PipeSummary, pipe
from client.results import ExpectationError
from client.session import Ending, Session


class EndingSession:
    """A session that the proxy ends cleanly while a message is being sent, or when nothing is."""

    ending = Ending(code=1000, reason="", client_closed_first=False, error=None)

    def __init__(self, *, takes_messages: bool) -> None:
        self._takes_messages = takes_messages
        self._used = asyncio.Event()

    async def send(self, _data: bytes) -> bool:
        self._used.set()
        if not self._takes_messages:
            await asyncio.sleep(0.1)
        return self._takes_messages

    async def chunks(self) -> AsyncIterator[bytes]:
        await self._used.wait()
        yield b"bye\n"


def run_pipe(*, takes_messages: bool) -> tuple[PipeSummary, bytes]:
    """Sends one line from a pipe that stays open until the session has ended."""
    reader, writer = os.pipe()
    output = io.BytesIO()

    async def run() -> PipeSummary:
        session = cast(Session, EndingSession(takes_messages=takes_messages))
        try:
            return await pipe(session, reader, output, terminal=False, linger=1, timeout=5)
        finally:
            os.close(writer)  # ends the thread that waits for more input

    os.write(writer, b"quit\n")
    try:
        return asyncio.run(run()), output.getvalue()
    finally:
        os.close(reader)


def test_input_that_the_session_did_not_take_is_an_error_though_the_close_was_clean() -> None:
    with pytest.raises(ExpectationError, match="only 0 bytes sent, then the session ended"):
        run_pipe(takes_messages=False)


def test_waiting_for_more_input_is_no_error_when_the_application_ends_the_session() -> None:
    summary, printed = run_pipe(takes_messages=True)
    assert (summary.sent, summary.received) == (5, 4)
    assert printed == b"bye\n"
