"""What a fake proxy does: the right thing, unless a field says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ISSUER = "http://mock-servers.secure-proxy.internal:10080/awsexample"

Transform = Callable[[bytes], bytes]
"""What the echo does with the stream: gets each piece received, returns what is sent back for it."""


def identity() -> Transform:
    """The correct echo."""
    return lambda data: data


@dataclass(frozen=True)
class Behaviour:
    """How the fake proxy behaves; each field but the first is a way to be wrong."""

    issuer: str = ISSUER
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Replaces members of the discovery document; None removes one."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """Replaces claims of the token; None removes one."""
    token_answer: Mapping[str, Any] = field(default_factory=dict)
    """Replaces members of the answer of `/token`; None removes one."""
    answers: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)
    """By path of the OAuth listener: status and body given instead of the right answer."""
    silent_paths: frozenset[str] = frozenset()
    """Paths of the OAuth listener that never answer."""
    accept_any_token: bool = False
    refusal: int = 403
    """Status for a token that is not valid."""
    refusal_body: Callable[[str], str] = lambda _token: '{"error":"access denied"}\n'
    reset_invalid: bool = False
    """Cut the connection on an invalid token, without an answer."""
    location: str | None = None
    """Location header of a refusal."""
    valid_refusal: int | None = None
    """Status for a valid token, instead of the upgrade."""
    silent_handshake: bool = False
    accept_header: str | None = None
    """Sec-WebSocket-Accept, instead of the right one."""
    subprotocol: str | None = "binary"
    transform: Callable[[], Transform] = identity
    frame_sizes: tuple[int, ...] = (1, 7, 100, 4096, 65536)
    """Sizes of the frames sent, in turn: nothing like those received, because boundaries carry no meaning."""
    text_frames: bool = False
    close_after: tuple[int, int, str] | None = None
    """Close first, after so many bytes received: bytes, close code, reason."""
    late_byte_after: int | None = None
    """Send a byte too many, a moment after the echo of so many bytes."""
    close_answer: bytes | None = None
    """Payload of the frame that answers the client's close, instead of an echo; b"" is a close without a code."""
    vanish_on_close: bool = False
    """Answer the client's close by closing the TCP connection alone."""
    linger_after_close: bool = False
    """Complete the close handshake and never end the connection."""
