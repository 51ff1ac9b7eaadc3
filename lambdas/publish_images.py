"""PublishImages: make the new images those that instances start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.common import clients, images
from lambdas.common.errors import ImageBuildFailedError
from lambdas.common.models import ImageBuilds
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True)
class PublishImages:
    """The finished builds."""

    images: ImageBuilds


def handler(event: object, _context: object = None) -> Any:
    """`PublishImages` → AMI ids by parameter."""
    ssm = clients.client("ssm")
    return run_task(PublishImages, event, lambda request: publish_images(request, ssm))


def publish_images(request: PublishImages, ssm: SSMClient) -> dict[str, str]:
    """The AMI ids by the parameters that hold them now.

    Raises `ImageNotVisibleError`, to be retried, until Parameter Store shows them.
    """
    published = {}
    for name, build in request.images.builds.items():
        if build.image_id is None:
            raise ImageBuildFailedError(f"image {name} has no AMI to publish ({build.build_arn})")
        published[build.image_parameter] = build.image_id
    images.publish_images(ssm, published)
    return published
