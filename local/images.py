"""Published images: a root directory and what is known about it. On AWS this is an AMI."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from local.errors import LocalError
from local.processes import run_tool

_DESCRIPTION = "image.json"
_IDENTIFIER = re.compile(r"ami-[0-9a-f]{17}")


def new_image_id() -> str:
    """An id of the form that EC2 gives to AMIs; no two are the same."""
    return f"ami-{secrets.token_hex(9)[:17]}"


class ImageDescription(BaseModel):
    """The content of `image.json`: id, name, version, the component parameters it was built with, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_id: str
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
    def image_id(self) -> str:
        return self.description.image_id

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def version(self) -> str:
        return self.description.version

    @property
    def root(self) -> Path:
        return self.path / "root"


@dataclass(frozen=True)
class ImageStore:
    """The images below `directory`, in a directory each that is called like its id."""

    directory: Path

    def get(self, image_id: str) -> Image | None:
        """The image of that id; None if there is none. Raises `LocalError` if it is damaged."""
        path = self.directory / image_id
        if not _IDENTIFIER.fullmatch(image_id) or not path.is_dir():
            return None
        try:
            description = ImageDescription.model_validate_json((path / _DESCRIPTION).read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise LocalError(f"image {path} is damaged ({error}); remove all with: bash destroy.sh --local") from None
        return Image(path, description)

    def find(self, name: str) -> Image | None:
        """The newest image of that name; None if there is none. Raises `LocalError` if one is damaged."""
        return next((image for image in reversed(self.all()) if image.name == name), None)

    def all(self) -> list[Image]:
        """All images, the oldest first."""
        names = [path.name for path in self.directory.iterdir()] if self.directory.is_dir() else []
        images = [image for image in map(self.get, names) if image]
        return sorted(images, key=lambda image: image.description.created)

    def publish(self, candidate: Path, image_id: str, name: str, version: str, parameters: Mapping[str, str]) -> Image:
        """Make of the directory `candidate` (same file system, holding `root`) the image `image_id`, in one step."""
        description = ImageDescription(
            image_id=image_id, name=name, version=version, parameters=parameters, created=datetime.now(UTC)
        )
        (candidate / _DESCRIPTION).write_text(description.model_dump_json(indent=2), encoding="utf-8")
        target = self.directory / image_id
        candidate.rename(target)
        return Image(target, description)

    def remove(self, image_id: str) -> None:
        """Remove the image of that id if there is one."""
        image = self.get(image_id)
        if image:
            remove_tree(image.path)


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
