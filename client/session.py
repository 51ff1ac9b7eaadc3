"""One WebSocket session through the proxy: a handshake with a bearer token, then bytes both ways, then an ending."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, SecurityError
from websockets.typing import Subprotocol

from client.network import deadline, excerpt, unreachable
from client.options import Target
from client.results import ExpectationError
from client.statuses import CLOSE_REMEDIES, HANDSHAKE_REMEDIES

SUBPROTOCOL = Subprotocol("binary")

MAX_FRAME = 16 * 1024 * 1024
"""Bytes in one received frame; a bound for this client's memory, far above what the proxy sends in one frame."""


class HandshakeRefusedError(ExpectationError):
    """The server answered the handshake with something other than 101; `status` is the HTTP status."""

    def __init__(self, status: int, body: bytes, where: str) -> None:
        self.status = status
        text = excerpt(body)
        super().__init__(
            f"HTTP 101 (Switching Protocols) from {where}",
            f"refused with {describe_status(status)}" + (f": {text}" if text else ""),
            HANDSHAKE_REMEDIES.get(status),
        )


class UpgradeError(ExpectationError):
    """The server accepted the handshake (101) in a way that RFC 6455 or this client does not allow."""


@dataclass(frozen=True)
class Ending:
    """How a session ended. `code` is the close code received: 1005 for a close frame without one, 1006 for none."""

    code: int
    reason: str
    client_closed_first: bool
    error: str | None
    unanswered: bool = False
    """Whether the connection ended, in time, without an answer to this client's close frame."""

    @property
    def clean(self) -> bool:
        """Whether the close handshake was complete, with code 1000 from the proxy."""
        return self.code == 1000 and self.error is None

    @property
    def remedy(self) -> str | None:
        """What the close code means and what to do about it."""
        return CLOSE_REMEDIES.get(self.code)

    def __str__(self) -> str:
        who = "closed by this client" if self.client_closed_first else "closed by the proxy"
        if self.code == 1006:
            text = "no close frame received"
        elif self.code == 1005:
            text = f"{who}, close frame without a code"
        else:
            text = f"{who}, close code {self.code}" + (f" ({self.reason})" if self.reason else "")
        return f"{text}; {self.error}" if self.error else text


class Session:
    """An open session. The payload is a byte stream: frames and messages carry no meaning (docs/clients.md)."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._closing: asyncio.Task[None] | None = None
        self._ending: Ending | None = None

    @property
    def ending(self) -> Ending:
        """How the session ended; valid once `chunks` is exhausted."""
        if self._ending is None:
            raise RuntimeError("the session has not ended")
        return self._ending

    @property
    def close_code(self) -> int | None:
        """The close code received so far, also while the connection is still there; None before a close frame."""
        received = self._connection.protocol.close_rcvd
        return received.code if received else None

    async def send(self, data: bytes) -> bool:
        """Sends bytes as one binary message, waiting while the network is slower; False if the session has ended."""
        try:
            await self._connection.send(data)
            # `send` need not yield; the event loop must get to notice that the connection is gone.
            await asyncio.sleep(0)
        except ConnectionClosed:
            return False
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the bytes received, as they come, until the session ends. For one reader alone."""
        try:
            while True:
                async for chunk in self._connection.recv_streaming(decode=False):
                    yield chunk
        except ConnectionClosed as closed:
            cause = closed.__cause__
            # After a complete close handshake, a reset of the TCP connection no longer matters; a timeout does.
            complete = closed.rcvd is not None and not isinstance(cause, TimeoutError)
            self._ending = Ending(
                code=closed.rcvd.code if closed.rcvd else 1006,
                reason=closed.rcvd.reason if closed.rcvd else "",
                client_closed_first=closed.sent is not None and not closed.rcvd_then_sent,
                error=None if complete else _why(closed),
                unanswered=(
                    closed.rcvd is None
                    and closed.sent is not None
                    and closed.sent.code == 1000
                    and not isinstance(cause, TimeoutError)
                ),
            )

    def start_close(self) -> None:
        """Sends a close frame with code 1000. `chunks` yields what was under way, then ends, within the timeout."""
        self._closing = asyncio.create_task(self._connection.close())

    async def abort(self) -> None:
        """Ends the connection at once, however far it got."""
        self._connection.transport.abort()
        await self._connection.wait_closed()
        if self._closing is not None:
            await self._closing


@asynccontextmanager
async def open_session(target: Target, tls: ssl.SSLContext, token: str, timeout: float) -> AsyncIterator[Session]:
    """Opens a session; on exit the connection is gone.

    Raises HandshakeRefusedError for an HTTP status other than 101, UpgradeError for an unacceptable 101, and
    ExpectationError when there is no answer at all.
    """
    where = target.wss_url
    async with deadline(timeout, f"an answer to the WebSocket handshake from {where}"):
        try:
            connection = await _connect(target, tls, token, timeout)
        except InvalidStatus as refused:
            raise HandshakeRefusedError(refused.response.status_code, bytes(refused.response.body), where) from None
        except (InvalidMessage, SecurityError) as error:
            raise unreachable(error, where) from error
        except InvalidHandshake as error:
            # The library checks the headers of a 101 alone.
            raise UpgradeError(f"an upgrade by RFC 6455 from {where}", f"accepted (101), but: {error}") from error
        except OSError as error:
            raise unreachable(error, where) from error
    session = Session(connection)
    try:
        if connection.subprotocol != SUBPROTOCOL:
            raise UpgradeError(
                f"the subprotocol {SUBPROTOCOL} from {where}",
                f"accepted (101), but negotiated {connection.subprotocol or 'none'}",
                "the proxy must answer the offered Sec-WebSocket-Protocol: binary",
            )
        yield session
    finally:
        await session.abort()


def describe_status(status: int) -> str:
    """An HTTP status with its standard phrase."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


class _DirectConnect(connect):
    """`connect` without redirects: whether the proxy refused is the question, not where it points to."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def _connect(target: Target, tls: ssl.SSLContext, token: str, timeout: float) -> ClientConnection:
    return await _DirectConnect(
        target.wss_url,
        ssl=tls,
        server_hostname=target.server_name or target.host,
        additional_headers={"Authorization": f"Bearer {token}"},
        subprotocols=[SUBPROTOCOL],
        compression=None,
        proxy=None,
        open_timeout=None,
        close_timeout=timeout,
        # The proxy pings, this client answers. The websockify bridge answers ours only when the application speaks.
        ping_interval=None,
        max_size=(None, MAX_FRAME),
    )


def _why(closed: ConnectionClosed) -> str:
    cause = closed.__cause__
    if isinstance(cause, TimeoutError):
        return "the proxy did not end the connection in time"
    if closed.sent is not None and closed.sent.code != 1000:
        # The library refused what came: a broken frame (1002), one above MAX_FRAME (1009).
        return f"this client gave up with {closed.sent.code} {closed.sent.reason}".rstrip()
    return f"the connection broke: {cause}" if cause else "the connection ended without a close frame"
