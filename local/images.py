"""Published images: a root directory and what is known about it. On AWS this is an AMI."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from local.errors import LocalError
from local.processes import run_tool

_DESCRIPTION = "image.json"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class ImageDescription(BaseModel):
    """The content of `image.json`: name, content version, the component parameters it was built with, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    parameters: Mapping[str, str]
    created: datetime


@dataclass(frozen=True)
class Image:
    """An image in the directory `path`; its root is for copying, never for running."""

    path: Path
    description: ImageDescription

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def version(self) -> str:
        return self.description.version

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def image_id(self) -> str:
        """What a machine is told as its image's id."""
        return f"ami-{self.name}-{self.version}"


@dataclass(frozen=True)
class ImageStore:
    """The images below `directory`, one of each name."""

    directory: Path

    def find(self, name: str) -> Image | None:
        """The image of that name; None if there is none. Raises `LocalError` if it is damaged."""
        path = self.directory / name
        if not path.is_dir():
            return None
        try:
            description = ImageDescription.model_validate_json((path / _DESCRIPTION).read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise LocalError(f"image {path} is damaged ({error}); build it again with --rebuild") from None
        return Image(path, description)

    def get(self, image_id: str) -> Image | None:
        """The image of that id; None if there is none."""
        return next((image for image in self.all() if image.image_id == image_id), None)

    def all(self) -> list[Image]:
        """All images, by name."""
        names = sorted(path.name for path in self.directory.iterdir()) if self.directory.is_dir() else []
        return [image for image in map(self.find, names) if image]

    def publish(self, candidate: Path, name: str, version: str, parameters: Mapping[str, str]) -> Image:
        """Make of the directory `candidate` (same file system, holding `root`) the image `name`, in one step.

        An earlier image of that name is replaced; nobody ever sees half of either.
        """
        description = ImageDescription(name=name, version=version, parameters=parameters, created=datetime.now(UTC))
        (candidate / _DESCRIPTION).write_text(description.model_dump_json(indent=2), encoding="utf-8")
        target = self.directory / name
        if target.exists():
            _exchange(candidate, target)
            remove_tree(candidate)
        else:
            candidate.rename(target)
        return Image(target, description)

    def remove(self, name: str) -> None:
        """Remove the image `name` if there is one."""
        remove_tree(self.directory / name)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a root directory with owners, modes, links and attributes; shares blocks where the file system can."""
    run_tool(
        ["cp", "--archive", "--reflink=auto", "--no-target-directory", str(source), str(target)], what="copying a root"
    )


def overlay_tree(lower: Path, layers: Path, target: Path) -> None:
    """Mount `lower` on `target` with all changes going to the directory `layers`; a copy where the kernel will not.

    Whoever removes `target` unmounts it first. `lower` must stay as it is for that long.
    """
    upper, work = layers / "upper", layers / "work"
    for path in (upper, work, target):
        path.mkdir()
    upper.chmod(lower.stat().st_mode & 0o7777)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    try:
        run_tool(["mount", "-t", "overlay", "-o", options, "overlay", str(target)], what="mounting a root")
    except LocalError:
        copy_tree(lower, target)


def remove_tree(path: Path) -> None:
    """Remove a directory if it exists; what is mounted in it is an error, never removed. Raises `LocalError`."""
    run_tool(["rm", "--recursive", "--force", "--one-file-system", str(path)], what="removing a directory")


def remove_trees(paths: Iterable[Path]) -> None:
    """Remove directories at once: a disk with a journal does many in little more time than one."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        for done in [pool.submit(remove_tree, path) for path in paths]:
            done.result()


def _exchange(first: Path, second: Path) -> None:
    """Swap two directories atomically (renameat2(2), RENAME_EXCHANGE)."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise LocalError(f"replacing image {second}: {os.strerror(number)}")
