"""Runs of Image Builder pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_imagebuilder import ImagebuilderClient
    from mypy_boto3_imagebuilder.type_defs import ImageSummaryTypeDef

# https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ImageState.html
IN_PROGRESS = frozenset({"PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "INTEGRATING"})
AVAILABLE = "AVAILABLE"


def builds_of(imagebuilder: ImagebuilderClient, pipeline_arn: str) -> Iterator[ImageSummaryTypeDef]:
    """All builds of a pipeline that Image Builder still lists."""
    page = imagebuilder.list_image_pipeline_images(imagePipelineArn=pipeline_arn)
    yield from page["imageSummaryList"]
    while token := page.get("nextToken"):
        page = imagebuilder.list_image_pipeline_images(imagePipelineArn=pipeline_arn, nextToken=token)
        yield from page["imageSummaryList"]


def status_of(build: ImageSummaryTypeDef) -> str:
    """The status of a build, such as `BUILDING`."""
    return build["state"]["status"]
