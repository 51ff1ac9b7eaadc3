"""Run the Autobahn case set (kosoku) against a proxy.

kosoku speaks plain ws://, so a relay stands before the proxy that adds TLS and, where one is needed, the bearer token.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import kosoku
from kosoku import _caseindex

from tests.proxy.bridge.autobahn_exclusions import EXCLUSIONS, STREAMED
from tests.proxy.nginx_harness import Proxy

PARALLEL = 16  # many cases just wait for a second
REPEATS = 2


@dataclass(frozen=True)
class Verdict:
    """What kosoku said of a case: the behaviour, the way the connection was closed, and words for both."""

    case: str
    behavior: str
    close: str
    words: str

    @property
    def strict(self) -> bool:
        """Exactly what the case requires; or the case only informs, because the RFC leaves the matter open."""
        return (self.behavior, self.close) in {("OK", "OK"), ("INFORMATIONAL", "INFORMATIONAL")}

    @property
    def late(self) -> bool:
        """It behaved, but the connection ended later than the set's clock allows."""
        return self.behavior in ("OK", "INFORMATIONAL") and self.close == "FAILED BY CLIENT"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while data := await reader.read(262144):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, ssl.SSLError):
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def relay(proxy: Proxy) -> AsyncIterator[str]:
    """A plain TCP address (host:port) that leads to the proxy."""
    token = proxy.token()
    authorization = f"\r\nAuthorization: Bearer {token}" if token else ""
    context = proxy.tls_context()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        inner_reader, inner_writer = await asyncio.open_connection(proxy.host, proxy.wss_port, ssl=context)
        inner_writer.write(request[:-4] + authorization.encode() + b"\r\n\r\n")
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}"


def _stream(events: Sequence[Sequence[Any]]) -> tuple[bytes, list[tuple[Any, ...]]]:
    """Events without what a byte stream does not keep: messages become the bytes of all of them, the rest stays."""
    data = b""
    others = []
    for kind, *rest in events:
        if kind == "message":
            payload, binary = rest
            data += payload if isinstance(payload, bytes) else payload.encode("latin-1" if binary else "utf-8")
        else:
            others.append((kind, *rest))
    return data, others


@asynccontextmanager
async def compared_as_streams() -> AsyncIterator[None]:
    """Make the cases compare bytes instead of messages.

    Most cases compare a list of events with those that they expect: both are reduced to bytes. The performance cases
    (9.x) look at each message in onMessage(): they get what has come when it is as long as what they wait for, as the
    type that they wait for.
    """
    _caseindex.initialize_shims()
    case_class: Any = importlib.import_module("case").Case  # an Autobahn module, importable since the line above

    usual_compare = case_class.compare
    patched: list[tuple[Any, Any]] = []

    def gather(original: Any) -> Any:
        def on_message(self: Any, message: Any, binary: bool) -> None:
            whole = getattr(self, "gathered", b"") + _stream([("message", message, binary)])[0]
            wanted = self.LEN if hasattr(self, "LEN") else self.DATALEN
            if len(whole) < wanted:
                self.gathered = whole
                return
            self.gathered = b""
            original(self, whole.decode("latin-1"), "text message" not in self.DESCRIPTION)

        return on_message

    def compare(self: Any, received: Any, expected: Any) -> bool:
        case = type(self).__name__.removeprefix("Case").replace("_", ".")
        if EXCLUSIONS.get(case) == STREAMED:
            return _stream(received)[1] == _stream(expected)[1]
        return _stream(received) == _stream(expected)

    case_class.compare = compare
    for cls in _subclasses(case_class):
        if "onMessage" in vars(cls) and cls.__name__.startswith("Case9_"):
            patched.append((cls, vars(cls)["onMessage"]))
            cls.onMessage = gather(vars(cls)["onMessage"])
    try:
        yield
    finally:
        case_class.compare = usual_compare
        for cls, original in patched:
            cls.onMessage = original


def _subclasses(cls: Any) -> list[Any]:
    direct: list[Any] = cls.__subclasses__()
    return direct + [found for one in direct for found in _subclasses(one)]


async def run(proxy: Proxy, include: Sequence[str], exclude: Sequence[str]) -> dict[str, Verdict]:
    """Run cases by id or `*` glob; the verdict of each.

    The set also times how soon the server ends TCP after the close handshake. On a machine with other work a case can
    miss that although it behaved; such a case, and no other, is run again, alone.
    """
    verdicts = await _run(proxy, include, exclude)
    for _ in range(REPEATS):
        late = [verdict.case for verdict in verdicts.values() if verdict.late]
        if not late:
            break
        verdicts |= await _run(proxy, late, [])
    return verdicts


async def _run(proxy: Proxy, include: Sequence[str], exclude: Sequence[str]) -> dict[str, Verdict]:
    async with relay(proxy) as address:
        try:
            results = await kosoku.run_fuzzingclient(address, list(include), list(exclude), concurrency=PARALLEL)
        except kosoku.FailureError as failure:
            results = failure.results
    return {
        result.case_id: Verdict(
            result.case_id,
            result.behavior.value,
            result.behavior_close.value,
            f"{result.result} / {result.result_close} / {result.remote_close_code}",
        )
        for result in results
    }
