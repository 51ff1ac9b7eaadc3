"""What every step on the network shares: a deadline, and errors explained in the reader's terms."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Thread
from typing import ParamSpec, TypeVar

from client.results import ExpectationError
from client.tls import certificate_refused, handshake_failed

P = ParamSpec("P")
T = TypeVar("T")

MAX_EXCERPT = 200
"""Characters of a server's answer that an error message shows."""


@asynccontextmanager
async def deadline(
    seconds: float, expected: str, received: str = "nothing until the time ran out"
) -> AsyncIterator[None]:
    """Bounds a step; raises ExpectationError with these texts when the time runs out."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        # The operating system's own "connection timed out" is a TimeoutError too; it is explained elsewhere.
        if not limit.expired():
            raise
        raise ExpectationError(
            f"{expected} within {seconds:g} s",
            received,
            "check that the proxy is up and that no firewall drops the packets; --timeout allows more time",
        ) from None


def unreachable(error: BaseException, where: str) -> ExpectationError:
    """Explains why no answer could be had from `where`: name, TCP, TLS or a connection that broke."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return certificate_refused(cause, where)
        if isinstance(cause, ssl.SSLError):
            return handshake_failed(cause, where)
        if isinstance(cause, socket.gaierror):
            return ExpectationError(
                f"a connection to {where}",
                f"connection error: the name does not resolve ({cause.strerror})",
                "check the spelling of --host and this machine's DNS",
            )
        if isinstance(cause, ConnectionRefusedError):
            return ExpectationError(
                f"a connection to {where}",
                "connection error: refused, nothing listens there",
                "check host and port, and that the proxy is running",
            )
    innermost = list(_causes(error))[-1]
    return ExpectationError(
        f"an answer from {where}",
        f"connection error: {str(innermost) or type(innermost).__name__}",
        "the log of the proxy (nginx-error.log) may say more",
    )


def excerpt(body: bytes) -> str:
    """The beginning of a server's answer, for an error message."""
    text = body.decode("utf-8", "backslashreplace").strip()
    return text if len(text) <= MAX_EXCERPT else f"{text[:MAX_EXCERPT]}…"


class DaemonExecutor(ThreadPoolExecutor):
    """Runs blocking calls (name resolution, stdin, stdout), each in a daemon thread.

    The standard executor's threads are joined at exit, so a name server that does not answer, or a stdin that never
    ends, would hold the process long after its deadline or after Ctrl-C.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Starts the call in a thread of its own."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # handed to whoever awaits the result
                future.set_exception(error)
            else:
                future.set_result(result)

        Thread(target=run, daemon=True).start()
        return future


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first; of several (one an address) the first.

    Contexts are followed even where they are suppressed: the HTTP library hides its causes so.
    """
    current: BaseException | None = error
    while current is not None:
        yield current
        if isinstance(current, BaseExceptionGroup):
            current = current.exceptions[0]
        else:
            current = current.__cause__ or current.__context__
