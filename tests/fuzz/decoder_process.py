"""Our decoder, in a LuaJIT process of its own that is fed over a pipe."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.fuzz.outcome import Kind, Outcome

HERE = Path(__file__).resolve().parent
LUA_ROOT = HERE.parents[1] / "components" / "secure_proxy" / "lua"


class DecoderDiedError(RuntimeError):
    """The LuaJIT process ended: a Lua error, or memory was touched that is not the decoder's."""


class DecoderProcess:
    """Runs sequences of chunks through `secure_proxy.ws.decoder`; a context manager."""

    def __init__(self, lua_root: Path = LUA_ROOT) -> None:
        self._process = subprocess.Popen(
            ["luajit", str(HERE / "driver.lua"), str(lua_root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=1 << 20,
        )

    def decode(self, chunks: Sequence[bytes], *, max_frame_size: int = 0, max_message_size: int = 0) -> Outcome:
        """What becomes of a client that sends these chunks; limits are payload bytes, 0 is none."""
        sizes = [len(chunk) for chunk in chunks]
        request = struct.pack(f"<4I{len(sizes)}I", sum(sizes), len(sizes), max_frame_size, max_message_size, *sizes)
        try:
            self._stdin.write(request + b"".join(chunks))
            self._stdin.flush()
            return self._answer()
        except (BrokenPipeError, EOFError) as error:
            words = self._process.communicate(timeout=5)[1].decode(errors="replace")
            raise DecoderDiedError(f"exit code {self._process.returncode}: {words}") from error

    def _answer(self) -> Outcome:
        kind, code, reason_length = struct.unpack("<BHB", self._take(4))
        reason = self._take(reason_length).decode()
        data = self._take(struct.unpack("<I", self._take(4))[0])
        raw = self._take(struct.unpack("<I", self._take(4))[0])
        controls = []
        at = 0
        while at < len(raw):
            end = at + 2 + raw[at + 1]
            controls.append((raw[at], raw[at + 2 : end]))
            at = end
        return Outcome(Kind(kind), code, reason, data, tuple(controls))

    def _take(self, count: int) -> bytes:
        data = self._stdout.read(count)
        if len(data) < count:
            raise EOFError
        return data

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
