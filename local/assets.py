"""Component directories as the zip files that travel to a build, as the CDK makes them for S3."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path


def zip_directory(directory: Path, target: Path, ignored: Iterable[str]) -> None:
    """Write the files below `directory` to the zip file `target`: the same bytes for the same content.

    `ignored` are patterns of file and directory names. Executable bits are kept, links followed, times left out.
    """
    patterns = tuple(ignored)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(_files(directory, patterns)):
            entry = zipfile.ZipInfo(path.relative_to(directory).as_posix())
            entry.external_attr = (0o100755 if path.stat().st_mode & 0o100 else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def _files(directory: Path, ignored: tuple[str, ...]) -> Iterator[Path]:
    for path in directory.iterdir():
        if any(fnmatch(path.name, pattern) for pattern in ignored):
            continue
        if path.is_dir():
            yield from _files(path, ignored)
        else:
            yield path
