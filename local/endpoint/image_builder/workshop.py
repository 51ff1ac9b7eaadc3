"""Builds images for real: components on the base root, their assets from S3, the result an AMI of EC2."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from local.base_root import BaseRoot
from local.build import Component, ImageBuilder, ImageRequest
from local.control_groups import ControlGroups
from local.endpoint.image_builder import amis
from local.endpoint.image_builder.recipes import Recipe
from local.errors import LocalError
from local.images import new_image_id
from local.layout import Layout
from local.progress import Progress
from local.substitution import downloads, substitute


@dataclass(frozen=True)
class LocalWorkshop:
    """Makes images of the deployment `layout` on `base`; `s3` is a boto3 client, `progress` shows the steps."""

    layout: Layout
    base: BaseRoot
    progress: Progress
    s3: Any
    _locks: dict[str, threading.Lock] = field(default_factory=dict)

    def make(self, recipe: Recipe, cancel: threading.Event, report: Callable[[str], None]) -> str:
        """See `builds.Workshop`. Of one name, one image is made at a time; the others wait."""
        with self._locks.setdefault(recipe.name, threading.Lock()):
            base = self.base.ensure(self.layout.logs / "base-root.log", self.progress, cancel)
            builder = ImageBuilder(self.layout, base, self.progress, cancel, ControlGroups(), report)
            with tempfile.TemporaryDirectory(dir=self.layout.builds, prefix="assets-") as directory:
                assets = self._assets(recipe, Path(directory))
                request = ImageRequest(new_image_id(), recipe.name, recipe.version, recipe.components, assets)
                image = builder.build(request)
            amis.register(image, f"{recipe.name} {recipe.version}", recipe.tags)
            self.progress.line(recipe.name, f"image {image.version} is {image.image_id}")
            return image.image_id

    def _assets(self, recipe: Recipe, directory: Path) -> dict[str, Path]:
        """Every object that the components download, as a file. Raises `LocalError` for one that is not there."""
        urls = dict.fromkeys(url for component in recipe.components for url in _downloads(component))
        return {url: self._fetch(url, directory / str(number)) for number, url in enumerate(urls)}

    def _fetch(self, url: str, target: Path) -> Path:
        parts = urlsplit(url)
        try:
            self.s3.download_file(parts.netloc, parts.path.removeprefix("/"), str(target))
        except ClientError as error:
            raise LocalError(f"{url} cannot be downloaded: {error}") from None
        return target


def _downloads(component: Component) -> list[str]:
    document = substitute(component.document, component.parameters, component.source)
    return [entry.source for phase in document.phases for entry in downloads(phase.steps)]
