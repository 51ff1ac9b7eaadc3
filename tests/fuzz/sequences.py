"""Frame sequences as a client may send them: valid, then broken in a random place, then cut at random points."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from tests.proxy.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, header, mask

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 64, 100, 124, 125, 126, 127, 200, 255, 256, 1000)
LARGE_SIZES = (4095, 4096, 16384, 65535, 65536, 65537, 100000)
CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4401, 4999)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
CHARACTERS = (
    "a",
    "z",
    " ",
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
)
BAD_TEXT = (
    *(b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf"),
    *(b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xfe", b"\xc3("),
)


def _frame(source: random.Random, opcode: int, payload: bytes, fin: bool) -> bytes:
    key = bytes(4) if source.random() < 0.1 else source.randbytes(4)
    return header(opcode, len(payload), fin=fin, key=key) + mask(payload, key)


def _size(source: random.Random) -> int:
    return source.choice(LARGE_SIZES if source.random() < 0.01 else SIZES)


def _text(source: random.Random) -> bytes:
    count = _size(source) // 3
    text = "".join(source.choices(CHARACTERS, k=count)) if source.random() < 0.5 else "x" * count
    data = text.encode()
    if source.random() < 0.1:
        at = source.randint(0, len(data))
        data = data[:at] + source.choice(BAD_TEXT) + data[at:]
    return data


def _control(source: random.Random) -> bytes:
    size = source.choice([size for size in SIZES if size <= 125])
    return _frame(source, source.choice((PING, PONG)), source.randbytes(size), True)


def _close(source: random.Random) -> bytes:
    kind = source.random()
    if kind < 0.2:
        payload = b""
    elif kind < 0.25:
        payload = source.randbytes(1)
    else:
        code = source.choice(BAD_CODES if source.random() < 0.2 else CODES)
        reason = _text(source)[: source.choice((0, 5, 50, 123))]
        payload = close_payload(code, reason)
    return _frame(source, CLOSE, payload, True)


def _message(source: random.Random) -> list[bytes]:
    """A message in one or several frames, cut anywhere, with control frames between."""
    opcode = source.choice((TEXT, BINARY))
    payload = _text(source) if opcode == TEXT else source.randbytes(_size(source))
    cuts = sorted(source.randint(0, len(payload)) for _ in range(source.choice((0, 0, 0, 1, 2, 5))))
    pieces = [payload[start:end] for start, end in pairwise([0, *cuts, len(payload)])]
    frames = []
    for index, piece in enumerate(pieces):
        if source.random() < 0.2:
            frames.append(_control(source))
        frames.append(_frame(source, CONTINUATION if index else opcode, piece, index == len(pieces) - 1))
    return frames


def valid(source: random.Random) -> list[bytes]:
    """Frames of a client that does little wrong."""
    frames = []
    for _ in range(source.choice((1, 1, 2, 3, 6))):
        frames += _message(source) if source.random() < 0.8 else [_control(source)]
    if source.random() < 0.5:
        frames.append(_close(source))
        if source.random() < 0.3:
            frames += _message(source)
    return frames


def _flip_bit(source: random.Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << source.randrange(8)


def _set_byte(source: random.Random, data: bytearray, at: int) -> None:
    data[at] = source.choice((0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0x81, 0x88, 0xFE, 0xFF, source.randrange(256)))


def _delete(source: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + source.choice((1, 1, 2, 4, 8, 20))]


def _insert(source: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = source.randbytes(source.choice((1, 1, 2, 4, 8, 20)))


def _repeat(source: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + source.choice((1, 6, 14, 50))]


def _truncate(_: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


_MUTATIONS: Sequence[Callable[[random.Random, bytearray, int], None]] = (
    *(_flip_bit, _flip_bit, _set_byte, _set_byte, _delete, _insert, _repeat, _truncate),
)


def mutate(source: random.Random, frames: Sequence[bytes]) -> bytes:
    """Break a sequence in one to three places, mostly in headers."""
    order = list(frames)
    if len(order) > 1 and source.random() < 0.2:
        source.shuffle(order)
    starts = [0]
    for frame in order:
        starts.append(starts[-1] + len(frame))
    data = bytearray(b"".join(order))
    for _ in range(source.choice((1, 1, 2, 3))):
        if not data:
            break
        at = source.choice(starts) + source.randrange(15) if source.random() < 0.7 else source.randrange(len(data))
        source.choice(_MUTATIONS)(source, data, min(at, len(data) - 1))
    return bytes(data)


def cut(source: random.Random, data: bytes) -> list[bytes]:
    """Cut a stream into the chunks that arrive at a time."""
    kind = source.random()
    if kind < 0.3 or not data:
        return [data]
    if kind < 0.4 and len(data) < 300:
        return [data[at : at + 1] for at in range(len(data))]
    points = sorted({source.randint(0, len(data)) for _ in range(source.choice((1, 2, 5, 20)))} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(points)]


def sequence(seed: int) -> list[bytes]:
    """The chunks of sequence number `seed`: the same for the same number, for ever."""
    source = random.Random(seed)  # noqa: S311 - reproducible on purpose
    kind = source.random()
    if kind < 0.02:
        data = source.randbytes(source.randrange(200))
    else:
        frames = valid(source)
        data = mutate(source, frames) if kind < 0.6 else b"".join(frames)
    return cut(source, data)
