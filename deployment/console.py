"""What the user sees: lines with the time since the beginning, and on a terminal a last line that changes."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

_SIGN_OF_LIFE_SECONDS = 60.0


class Console:
    """Writes to `stream`. `clock` gives seconds."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty() if live is None else live
        self._clock = clock
        self._began = clock()
        self._status = ""
        self._spoke = self._began
        self._drawn = False

    def line(self, text: str, *, at: float | None = None) -> None:
        """One line; `at` is the time to show in seconds, unless it is that since the beginning."""
        self.plain(self._timed(text, at))

    def plain(self, text: str = "") -> None:
        """Text as it is."""
        self._erase()
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()
        self._spoke = self._clock()

    def status(self, text: str, *, at: float | None = None) -> None:
        """What is going on now. Without a terminal it is a line whenever it changes, and once a minute."""
        if self._live:
            self._erase()
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(printable(self._timed(text, at))[:width])
            self._stream.flush()
            self._drawn = True
        elif text != self._status or self._clock() - self._spoke >= _SIGN_OF_LIFE_SECONDS:
            self.line(text, at=at)
        self._status = text

    def settle(self) -> None:
        """Ends the changing line, so that others can write."""
        self._erase()
        self._stream.flush()

    def confirm(self, question: str) -> bool:
        """Whether the user says yes; no input is a no."""
        self.settle()
        try:
            answer = input(f"{question} [y/N] ")
        except EOFError:
            return False
        return answer.strip().lower() in ("y", "yes")

    def _timed(self, text: str, at: float | None) -> str:
        return f"{clock_time(self._clock() - self._began if at is None else at)}  {text}"

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False


def clock_time(seconds: float) -> str:
    """`    1:05` for 65 seconds, `1:01:05` for an hour more."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{text:>8}"


def printable(text: str) -> str:
    """`text` with control characters escaped: what AWS or an instance says must not steer the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )
