"""The reference: parsers that are strict, maintained and written by others.

Frames, fragmentation and UTF-8 are judged by wsproto; close frames by websockets, which knows all codes that IANA has
registered.
"""

from __future__ import annotations

from collections.abc import Sequence

from websockets.exceptions import ProtocolError
from websockets.frames import Close
from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol, MessageDecoder, Opcode, ParseFailed

from tests.fuzz.outcome import Kind, Outcome

LONGEST_FRAME = 1 << 53


class Messages(MessageDecoder):
    """wsproto's, made to fail as early as it could.

    Python's incremental decoder takes the first two bytes of a surrogate for the beginning of a character and notices
    only at the third that there is none.
    """

    def process_frame(self, frame: Frame) -> Frame:
        decoded = super().process_frame(frame)
        pending = self.unfinished_character
        if len(pending) == 2 and pending[0] == 0xED and pending[1] >= 0xA0:
            raise ParseFailed("surrogate", CloseReason.INVALID_FRAME_PAYLOAD_DATA)
        return decoded

    @property
    def unfinished_character(self) -> bytes:
        """The first bytes of a character that a text message was cut in; ours passes them on as they come."""
        return self.decoder.getstate()[0] if self.decoder else b""


class Protocol(FrameProtocol):
    """wsproto's parser of a client's frames, with websockets' opinion of close frames."""

    def __init__(self) -> None:
        super().__init__(client=False, extensions=[])
        self.messages = Messages()
        self._message_decoder = self.messages

    def _process_close(self, frame: Frame) -> Frame:
        assert isinstance(frame.payload, bytes)
        code, reason = 0, ""
        if frame.payload:
            try:
                Close.parse(frame.payload[:2])  # the code is judged before the reason
                close = Close.parse(frame.payload)
            except UnicodeDecodeError as error:
                raise ParseFailed(str(error), CloseReason.INVALID_FRAME_PAYLOAD_DATA) from error
            except ProtocolError as error:
                raise ParseFailed(str(error)) from error
            code, reason = int(close.code), close.reason
        return frame._replace(payload=(code, reason))

    @property
    def frame_too_long_to_count(self) -> bool:
        """Is the current frame one of 2^53 bytes or more? Ours refuses to begin what it could not count."""
        header = self._frame_decoder.header
        return header is not None and header.payload_len >= LONGEST_FRAME


class Reference:
    """Decodes one client's stream."""

    def __init__(self) -> None:
        self.protocol = Protocol()
        self._data = bytearray()
        self._controls: list[tuple[int, bytes]] = []
        self._end = (Kind.MORE, 0, "")

    def feed(self, chunk: bytes) -> None:
        """Decode some bytes; what follows an end is ignored."""
        if self._end[0] is not Kind.MORE:
            return
        self.protocol.receive_bytes(chunk)
        try:
            for frame in self.protocol.received_frames():
                self._take(frame)
        except ParseFailed as error:
            self._end = (Kind.FAILED, int(error.code), str(error))

    def _take(self, frame: Frame) -> None:
        payload = frame.payload
        if isinstance(payload, tuple):
            self._end = (Kind.CLOSE, *payload)
        elif frame.opcode in (Opcode.PING, Opcode.PONG):
            assert isinstance(payload, bytes)
            self._controls.append((int(frame.opcode), payload))
        else:
            self._data += payload.encode() if isinstance(payload, str) else payload

    def outcome(self) -> Outcome:
        """What has become of the stream so far."""
        kind, code, reason = self._end
        data = bytes(self._data)
        if kind is not Kind.FAILED:
            data += self.protocol.messages.unfinished_character
        return Outcome(kind, code, reason, data, tuple(self._controls))


def decode(chunks: Sequence[bytes]) -> Reference:
    """Run a sequence through the reference."""
    reference = Reference()
    for chunk in chunks:
        reference.feed(chunk)
    return reference
