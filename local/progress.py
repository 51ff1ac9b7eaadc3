"""What the user sees while things are built: one line a step, and on a terminal a counter of what runs now.

Several sources (images built at once) write through one `Progress`; lines never mix because each is written whole.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TextIO

_HEARTBEAT = 30.0  # seconds between signs of life where there is no terminal
_REFRESH = 0.5  # seconds between redrawings of the counter
_FOLLOW = 0.2  # seconds between looks at what another process has written


class Progress:
    """Writes to `stream`. Use as a context manager: the counter lives as long as the block."""

    def __init__(self, stream: TextIO | None = None, *, live: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty() if live is None else live
        self._lock = threading.RLock()
        self._running: dict[tuple[str, str], float] = {}
        self._spoke: dict[tuple[str, str], float] = {}
        self._drawn = False
        self._stopped = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Progress:
        self._stopped.clear()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticker.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._stopped.set()
        if self._ticker:
            self._ticker.join()
        with self._lock, _nothing_hidden(error):
            self._erase()
            self._stream.flush()

    def line(self, source: str, text: str) -> None:
        """One line: who says it, what it says."""
        self.write(f"{source:<25} {text}")

    def write(self, text: str) -> None:
        """One line as it is."""
        with self._lock:
            self._erase()
            self._stream.write(f"{text}\n")
            self._draw()
            self._stream.flush()

    @contextmanager
    def step(self, source: str, title: str) -> Iterator[None]:
        """Show `title` as running for the length of the block, then its line with the elapsed time."""
        key = (source, title)
        began = time.monotonic()
        with self._lock:
            self._running[key] = self._spoke[key] = began
        outcome = "failed"
        try:
            yield
            outcome = ""
        finally:
            with self._lock:
                self._running.pop(key, None)
            with _nothing_hidden(outcome or None):
                self.line(source, f"{title:<44} {time.monotonic() - began:6.1f} s  {outcome}".rstrip())

    def _tick(self) -> None:
        while not self._stopped.wait(_REFRESH):
            now = time.monotonic()
            # A stream that is gone is met by whoever writes the next line.
            with self._lock, suppress(OSError):
                if self._live:
                    self._erase()
                    self._draw()
                    self._stream.flush()
                else:
                    self._beat(now)

    def _beat(self, now: float) -> None:
        for (source, title), began in self._running.items():
            if now - self._spoke[source, title] >= _HEARTBEAT:
                self._spoke[source, title] = now
                self.line(source, f"{title} … {int(now - began)} s so far")

    def _draw(self) -> None:
        if self._live and self._running:
            now = time.monotonic()
            words = "  |  ".join(
                f"{source}: {title} {int(now - began)} s" for (source, title), began in self._running.items()
            )
            self._stream.write(words[: shutil.get_terminal_size().columns - 1])
            self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False


def _nothing_hidden(failure: object) -> AbstractContextManager[None]:
    """Lets no error of the stream take the place of the `failure` that is on its way."""
    return suppress(OSError) if failure else nullcontext()


@contextmanager
def follow(path: Path, progress: Progress) -> Iterator[None]:
    """Show what another process appends to the text file `path` during the block, line by line."""
    over = threading.Event()
    position = path.stat().st_size if path.exists() else 0
    follower = threading.Thread(target=_pass_on, args=(path, position, progress, over), name="follow", daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()


def _pass_on(path: Path, position: int, progress: Progress, over: threading.Event) -> None:
    rest = b""
    while True:
        last = over.wait(_FOLLOW)
        with suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(position)
            news = file.read()
            position += len(news)
            *lines, rest = (rest + news).split(b"\n")
            for line in lines:
                progress.write(line.decode(errors="replace"))
        if last:
            return
