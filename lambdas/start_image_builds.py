"""StartImageBuilds: run both Image Builder pipelines."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.common import clients
from lambdas.common.models import ImageBuild, ImageBuilds, Pipeline
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_imagebuilder import ImagebuilderClient


@dataclass(frozen=True)
class StartImageBuilds:
    """The execution and the pipelines by the name of their image."""

    execution_arn: str
    pipelines: Mapping[str, Pipeline]


def handler(event: object, _context: object = None) -> Any:
    """`StartImageBuilds` → `ImageBuilds`."""
    imagebuilder = clients.client("imagebuilder")
    return run_task(StartImageBuilds, event, lambda request: start_image_builds(request, imagebuilder))


def start_image_builds(request: StartImageBuilds, imagebuilder: ImagebuilderClient) -> ImageBuilds:
    """The builds, one a pipeline. Asked again for the same execution, it starts nothing new."""
    builds = {}
    for name, pipeline in request.pipelines.items():
        started = imagebuilder.start_image_pipeline_execution(
            imagePipelineArn=pipeline.pipeline_arn,
            clientToken=idempotency_token(request.execution_arn, pipeline.pipeline_arn),
        )
        builds[name] = ImageBuild(
            pipeline.pipeline_arn, pipeline.image_parameter, started["imageBuildVersionArn"], image_id=None
        )
    return ImageBuilds(builds=builds, checks=0, finished=False)


def idempotency_token(execution_arn: str, subject: str) -> str:
    """The same 36 characters for the same execution and subject: Image Builder acts once on a token."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{execution_arn} {subject}"))
