"""CheckImageBuilds: ask Image Builder how the builds are doing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.common import clients
from lambdas.common.builds import AVAILABLE, IN_PROGRESS, builds_of, status_of
from lambdas.common.errors import ImageBuildFailedError, ImageBuildTimedOutError
from lambdas.common.models import ImageBuild, ImageBuilds
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_imagebuilder import ImagebuilderClient
    from mypy_boto3_imagebuilder.type_defs import ImageSummaryTypeDef


@dataclass(frozen=True)
class CheckImageBuilds:
    """The builds, how often they may be looked at, and how far apart."""

    images: ImageBuilds
    max_checks: int
    poll_seconds: int


def handler(event: object, _context: object = None) -> Any:
    """`CheckImageBuilds` → `ImageBuilds`."""
    imagebuilder = clients.client("imagebuilder")
    return run_task(CheckImageBuilds, event, lambda request: check_image_builds(request, imagebuilder))


def check_image_builds(request: CheckImageBuilds, imagebuilder: ImagebuilderClient) -> ImageBuilds:
    """The builds with the AMIs of those that are available.

    Raises `ImageBuildFailedError` as soon as one ended otherwise, with Image Builder's reason, and
    `ImageBuildTimedOutError` when not all are available at the last permitted look.
    """
    looks = {name: _look_up(build, imagebuilder) for name, build in request.images.builds.items()}
    statuses = {name: status_of(look) if look else "PENDING" for name, look in looks.items()}
    failed = [name for name, status in statuses.items() if status not in IN_PROGRESS | {AVAILABLE}]
    if failed:
        raise ImageBuildFailedError("; ".join(_reason(name, looks[name], request) for name in failed))
    unfinished = [f"{name} is {status}" for name, status in statuses.items() if status != AVAILABLE]
    checks = request.images.checks + 1
    if unfinished and checks >= request.max_checks:
        minutes = checks * request.poll_seconds / 60
        raise ImageBuildTimedOutError(
            f"{', '.join(unfinished)} after {minutes:.0f} minutes. How far it came is in the log group of the image, "
            "/aws/imagebuilder/…"
        )
    builds = {
        name: dataclasses.replace(build, image_id=_image_id(name, looks[name], imagebuilder.meta.region_name))
        for name, build in request.images.builds.items()
    }
    return ImageBuilds(builds=builds, checks=checks, finished=not unfinished)


def _look_up(build: ImageBuild, imagebuilder: ImagebuilderClient) -> ImageSummaryTypeDef | None:
    """What Image Builder lists of the build; nothing for a moment after it was started."""
    return next(
        (entry for entry in builds_of(imagebuilder, build.pipeline_arn) if entry["arn"] == build.build_arn), None
    )


def _reason(name: str, look: ImageSummaryTypeDef | None, request: CheckImageBuilds) -> str:
    state = look["state"] if look else {}
    reason = state.get("reason", "Image Builder gives no reason")
    return f"image {name} is {state.get('status')}: {reason} ({request.images.builds[name].build_arn})"


def _image_id(name: str, look: ImageSummaryTypeDef | None, region: str) -> str | None:
    if look is None or status_of(look) != AVAILABLE:
        return None
    amis = [ami["image"] for ami in look.get("outputResources", {}).get("amis", []) if ami["region"] == region]
    if not amis:
        raise ImageBuildFailedError(f"image {name} is available, but has no AMI in {region} ({look['arn']})")
    return amis[0]
