"""Versions of Image Builder components and recipes that follow from what they contain.

Image Builder refuses changed content under an old version, and ignores changed S3 content under an unchanged one
(https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateComponent.html). A version made from the content
has neither problem.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

# Left behind by running or looking at the files. Whoever packs a component must leave the same out.
IGNORED_PATTERNS = ("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", "*.pyc", ".DS_Store", "*.swp", "*~")

_VERSIONS = 2**30  # Image Builder's numbers go to 2**30 - 1


def content_version(paths: Iterable[Path], extra: Mapping[str, str]) -> str:
    """`1.0.<n>`, where n follows from the files under `paths` and from `extra`.

    Each path is a file or a directory, known by its own name, so it does not matter where a checkout lies. Counted are
    the files' relative names, bytes and whether they are executable (as git does, so that umask does not matter),
    symbolic links by their target, and `extra` (the component's parameters). Order, times and `IGNORED_PATTERNS` do not
    count.

    Raises `FileNotFoundError` for a path that does not exist and `ValueError` for paths that cannot be told apart, for
    anything that is neither file, directory nor link, and when there is no content at all.
    """
    entries: dict[str, bytes] = {}
    for path in paths:
        for name, content in _entries(path, path.name):
            if name in entries:
                raise ValueError(f"two files are called {name}; a version needs names that differ")
            entries[name] = content
    if not entries:
        raise ValueError("there is no content to make a version of")
    digest = hashlib.sha256()
    for part in (entries, {key: value.encode() for key, value in extra.items()}):
        digest.update(_framed(str(len(part)).encode()))
        for name, content in sorted(part.items()):
            digest.update(_framed(os.fsencode(name)) + _framed(content))
    return f"1.0.{int.from_bytes(digest.digest()[:8], 'big') % _VERSIONS}"


def _entries(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    if any(fnmatch(path.name, pattern) for pattern in IGNORED_PATTERNS):
        return
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        yield name, b"link " + os.fsencode(path.readlink())
    elif stat.S_ISDIR(mode):
        for entry in path.iterdir():
            yield from _entries(entry, f"{name}/{entry.name}")
    elif stat.S_ISREG(mode):
        yield name, (b"executable " if mode & stat.S_IXUSR else b"file ") + path.read_bytes()
    else:
        raise ValueError(f"{path} is neither a file, a directory nor a symbolic link")


def _framed(content: bytes) -> bytes:
    """The bytes behind their length, so that no two sequences of parts read the same."""
    return len(content).to_bytes(8, "big") + content
