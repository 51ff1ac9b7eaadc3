"""The API of EC2 Image Builder."""

from __future__ import annotations

from typing import Any

from local.endpoint.image_builder.builds import Builds, Workshop
from local.endpoint.image_builder.resources import ImageResources


class ImageBuilderApi:
    """All operations that there are: of resources, and of the images that are made from them."""

    def __init__(self, workshop: Workshop) -> None:
        self.resources = ImageResources()
        self.builds = Builds(self.resources, workshop)

    def __getattr__(self, operation: str) -> Any:
        if hasattr(Builds, operation):
            return getattr(self.builds, operation)
        return getattr(self.resources, operation)
