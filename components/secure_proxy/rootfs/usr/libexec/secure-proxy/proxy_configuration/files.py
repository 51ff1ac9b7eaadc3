"""Files that are there as a whole or not at all, also when the machine loses its power meanwhile."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the disk hold what a file says, or which names a directory has, before this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def has_content(path: Path) -> bool:
    """Whether the file is there; an empty one is what a crash left, and nobody's."""
    return path.exists() and path.stat().st_size > 0
