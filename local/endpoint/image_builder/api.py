"""The API of EC2 Image Builder."""

from __future__ import annotations

from local.endpoint.image_builder.resources import ImageResources


class ImageBuilderApi(ImageResources):
    """All operations that there are."""
