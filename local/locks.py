"""Locks between commands: advisory locks of files (flock(2)), which the kernel releases when their holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.errors import LocalError


class LockedError(LocalError):
    """Another command holds the lock; `holder` is its process number if it left it, else 0."""

    def __init__(self, path: Path, holder: int) -> None:
        self.holder = holder
        super().__init__(f"{path} is held by process {holder or 'unknown'}")


@contextmanager
def locked(path: Path, *, wait: bool = False, parents: bool = False) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block.

    The file may be removed by its holder: whoever then gets the lock of the removed file tries again with the new one.
    `parents` makes its directory, again if a holder has removed that too.
    Raises `LockedError` at once if another process holds it, unless `wait` is set.
    """
    descriptor = _acquire(path, wait, parents)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path, wait: bool, parents: bool) -> int:
    while True:
        descriptor = _open(path, parents)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            words = os.pread(descriptor, 32, 0).split()
            os.close(descriptor)
            raise LockedError(path, int(words[0]) if words and words[0].isdigit() else 0) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path, parents: bool) -> int:
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            if not parents:
                raise
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
