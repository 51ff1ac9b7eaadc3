"""A proxy for tests of the client: correct by default, with a switch for each way to be wrong.

Two listeners with TLS on loopback, as the real one has: an OAuth listener (`/configuration`, `/token`) and a WSS
listener that verifies the bearer token and echoes. It speaks WebSocket through the Sans-I/O layer of `websockets`, so
that it can also do what no library lets a server do.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.unit.client.behaviour import Behaviour
from tests.unit.client.certificates import Certificate

KEY = RSAKey.generate_key(2048, auto_kid=True)

LATE_SECONDS = 0.05


@dataclass(frozen=True)
class Handshake:
    """One handshake that the fake proxy saw."""

    request: Request
    status: int

    @property
    def token(self) -> str:
        """The bearer token presented, or an empty string."""
        return self.request.headers.get("Authorization", "").removeprefix("Bearer ")


class FakeProxy:
    """Runs in a thread of its own between `__enter__` and `__exit__`."""

    def __init__(
        self,
        certificate: Certificate,
        behaviour: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        tls_version: ssl.TLSVersion | None = None,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.host = host
        self.wss_port = 0
        self.oauth_port = 0
        self.handshakes: list[Handshake] = []
        self.requests: list[str] = []
        self.token_forms: list[dict[str, str]] = []
        self.issued: list[str] = []
        self.received = bytearray()
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate.certificate, certificate.key)
        if tls_version is not None:
            self._tls.minimum_version = self._tls.maximum_version = tls_version
            self._tls.set_ciphers("ALL:@SECLEVEL=0")
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wss_port = self._call(self._listen(self._serve_websocket))
        self.oauth_port = self._call(self._listen(self._serve_http))
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def make_token(self) -> str:
        """Issues a token as `/token` does."""
        claims = {"iss": self.behaviour.issuer, "sub": "tester", "exp": int(time.time()) + 3600}
        token = jwt.encode({"alg": "RS256", "kid": KEY.kid}, _replaced(claims, self.behaviour.claims), KEY)
        self.issued.append(token)
        return token

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> int:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass  # the client went away
            finally:
                writer.close()

        server = await asyncio.start_server(guarded, self.host, 0, ssl=self._tls)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _stop(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # OAuth listener

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *fields = head.split("\r\n")
        method, path, _ = request_line.split(" ")
        self.requests.append(path)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, answer = self._oauth_answer(method, path, body)
        if path in self.behaviour.silent_paths:
            await asyncio.Event().wait()
        writer.write(
            f"HTTP/1.1 {status} Fake\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n"
            f"Location: https://elsewhere.example/\r\nConnection: close\r\n\r\n".encode()
            + answer
        )
        await writer.drain()

    def _oauth_answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if path in self.behaviour.answers:
            return self.behaviour.answers[path]
        issuer = self.behaviour.issuer
        if (method, path) == ("GET", "/configuration"):
            document = {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/jwks",
                "response_types_supported": ["code"],
            }
            return 200, json.dumps(_replaced(document, self.behaviour.configuration)).encode()
        if (method, path) == ("POST", "/token"):
            self.token_forms.append({name: values[0] for name, values in parse_qs(body.decode()).items()})
            answer = {"access_token": self.make_token(), "token_type": "Bearer", "expires_in": 3600}
            return 200, json.dumps(_replaced(answer, self.behaviour.token_answer)).encode()
        return 404, b"{}"

    # WSS listener

    async def _serve_websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour
        protocol = ServerProtocol(select_subprotocol=lambda _protocol, _offered: _subprotocol(behaviour), max_size=None)
        request = await _read_request(protocol, reader)
        valid = self._is_valid(request)
        status = 101 if behaviour.accept_any_token else behaviour.valid_refusal or 101 if valid else behaviour.refusal
        self.handshakes.append(Handshake(request, status))
        if behaviour.silent_handshake:
            await asyncio.Event().wait()
        if behaviour.reset_invalid and not valid:
            _reset(writer)
            return
        if status == 101:
            response = protocol.accept(request)
            if behaviour.accept_header is not None:
                del response.headers["Sec-WebSocket-Accept"]
                response.headers["Sec-WebSocket-Accept"] = behaviour.accept_header
        else:
            response = protocol.reject(status, behaviour.refusal_body(self.handshakes[-1].token))
            if behaviour.location is not None:
                response.headers["Location"] = behaviour.location
        protocol.send_response(response)
        writer.write(b"".join(protocol.data_to_send()))
        await writer.drain()
        if status == 101:
            await self._echo(protocol, reader, writer)

    def _is_valid(self, request: Request) -> bool:
        values = request.headers.get_all("Authorization")
        if len(values) != 1 or not values[0].startswith("Bearer "):
            return False
        try:
            token = jwt.decode(values[0].removeprefix("Bearer "), KEY, algorithms=["RS256"])
            jwt.JWTClaimsRegistry(exp={"essential": True}).validate(token.claims)
        except (JoseError, ValueError):
            return False
        return True

    async def _echo(self, protocol: ServerProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour
        transform = behaviour.transform()
        opcode = Opcode.TEXT if behaviour.text_frames else Opcode.BINARY
        size_index = 0
        count = 0
        while data := await reader.read(65536):
            protocol.receive_data(data)
            for event in protocol.events_received():
                assert isinstance(event, Frame)
                if event.opcode is Opcode.CLOSE:
                    await self._answer_close(bytes(event.data), writer)
                    return
                if event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    continue
                self.received += event.data
                count += len(event.data)
                back = transform(bytes(event.data))
                while back:
                    size = behaviour.frame_sizes[size_index % len(behaviour.frame_sizes)]
                    size_index += 1
                    writer.write(Frame(opcode, back[:size]).serialize(mask=False))
                    back = back[size:]
                if count == behaviour.late_byte_after:
                    late = Frame(opcode, b"!").serialize(mask=False)
                    self._loop.call_later(LATE_SECONDS, writer.write, late)
                if behaviour.close_after and count >= behaviour.close_after[0]:
                    _, code, reason = behaviour.close_after
                    writer.write(Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False))
                    await writer.drain()
                    # What is still coming must be read: closing over unread data would reset the connection and could
                    # take the close frame with it. The end is the client's own close frame.
                    await _read_until_close(protocol, reader)
                    if behaviour.linger_after_close:
                        await asyncio.Event().wait()
                    return
            protocol.data_to_send()  # the library's own answers are replaced by ours
            await writer.drain()

    async def _answer_close(self, payload: bytes, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour
        if behaviour.vanish_on_close:
            return
        answer = payload if behaviour.close_answer is None else behaviour.close_answer
        writer.write(Frame(Opcode.CLOSE, answer).serialize(mask=False))
        await writer.drain()
        if behaviour.linger_after_close:
            await asyncio.Event().wait()


def _subprotocol(behaviour: Behaviour) -> Any:
    return behaviour.subprotocol


async def _read_request(protocol: ServerProtocol, reader: asyncio.StreamReader) -> Request:
    while True:
        data = await reader.read(65536)
        if not data:
            raise ConnectionResetError
        protocol.receive_data(data)
        for event in protocol.events_received():
            assert isinstance(event, Request)
            return event


async def _read_until_close(protocol: ServerProtocol, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(65536):
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                return


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


def _replaced(values: Mapping[str, Any], replacements: Mapping[str, Any]) -> dict[str, Any]:
    """The values with replacements; a replacement of None removes."""
    return {name: value for name, value in {**values, **replacements}.items() if value is not None}
