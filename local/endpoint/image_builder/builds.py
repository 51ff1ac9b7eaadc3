"""Runs of image pipelines: the operations of Image Builder's API that start, show, cancel and delete images.

moto has no Image Builder. As on AWS, a run goes on by itself after the call that started it; its ARN ends in a number
that counts the builds of a recipe's version; the same client token starts nothing new. Lists come whole, newest first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from local.endpoint.account import ACCOUNT, REGION, arn
from local.endpoint.image_builder.recipes import Recipe, recipe_of
from local.endpoint.image_builder.resources import PIPELINE, ImageResources
from local.endpoint.services import ServiceError
from local.errors import LocalError
from local.targets import CancelledError

_LONGEST_REASON = 1024  # characters, as AWS has it
_Parameters = Mapping[str, Any]

logger = logging.getLogger(__name__)


class Workshop(Protocol):
    """Where images are made."""

    def make(self, recipe: Recipe, cancel: threading.Event, report: Callable[[str], None]) -> str:
        """Build, test and register the image; its AMI id. Raises `CancelledError` soon after `cancel` is set, and
        `LocalError` with the reason of a failure. `report` hears statuses while they change."""


@dataclass
class Build:
    """A run of a pipeline. Changed by its own thread alone, but for `cancel`."""

    arn: str
    pipeline_arn: str
    recipe: Recipe
    token: str
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: str = "PENDING"
    reason: str = ""
    image_id: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("AVAILABLE", "FAILED", "CANCELLED")

    def summary(self) -> dict[str, Any]:
        """What lists show of it (`ImageSummary`)."""
        state = {"status": self.status, **({"reason": self.reason} if self.reason else {})}
        amis = [{"region": REGION, "image": self.image_id, "name": self.recipe.name, "accountId": ACCOUNT}]
        return {
            "arn": self.arn,
            "name": self.recipe.name,
            "type": "AMI",
            "version": self.arn.partition("/")[2].partition("/")[2],
            "platform": "Linux",
            "state": state,
            "owner": ACCOUNT,
            "dateCreated": self.created.isoformat(),
            "outputResources": {"amis": amis if self.image_id else []},
            "tags": dict(self.recipe.tags),
            "buildType": "USER_INITIATED",
        }


class Builds:
    """All runs of all pipelines."""

    def __init__(self, resources: ImageResources, workshop: Workshop) -> None:
        self._resources = resources
        self._workshop = workshop
        self._builds: list[Build] = []
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Cancel what is under way and wait for its end."""
        for build in self._builds:
            build.cancel.set()
        for build in self._builds:
            if build.thread:
                build.thread.join()

    def start_image_pipeline_execution(self, parameters: _Parameters) -> _Parameters:
        """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_StartImagePipelineExecution.html"""
        pipeline_arn, token = parameters["imagePipelineArn"], parameters["clientToken"]
        try:
            recipe = recipe_of(pipeline_arn, self._resources)
        except LocalError as error:
            raise ServiceError("InvalidRequestException", str(error)) from None
        with self._lock:
            build = next((build for build in self._builds if build.token == token), None)
            if build and build.pipeline_arn != pipeline_arn:
                raise ServiceError("IdempotentParameterMismatchException", f"the token was used for {build.arn}")
            if build is None:
                build = Build(self._next_arn(recipe), pipeline_arn, recipe, token)
                self._builds.append(build)
                build.thread = threading.Thread(target=self._run, args=(build,), name=build.arn, daemon=True)
                build.thread.start()
        return {"clientToken": token, "imageBuildVersionArn": build.arn}

    def list_image_pipeline_images(self, parameters: _Parameters) -> _Parameters:
        """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ListImagePipelineImages.html"""
        self._resources.resource(PIPELINE, parameters["imagePipelineArn"])
        return {"imageSummaryList": self._summaries(lambda build: build.pipeline_arn == parameters["imagePipelineArn"])}

    def list_images(self, parameters: _Parameters) -> _Parameters:
        """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ListImages.html"""
        names = _names(parameters)
        versions: dict[str, dict[str, Any]] = {}
        for summary in self._summaries(lambda build: names is None or build.recipe.name in names):
            version = {key: summary[key] for key in ("name", "type", "platform", "owner", "dateCreated", "buildType")}
            version_arn = summary["arn"].rpartition("/")[0]
            versions.setdefault(version_arn, {"arn": version_arn, "version": version_arn.split("/")[2], **version})
        return {"imageVersionList": list(versions.values())}

    def list_image_build_versions(self, parameters: _Parameters) -> _Parameters:
        """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ListImageBuildVersions.html"""
        version_arn = parameters.get("imageVersionArn")
        return {
            "imageSummaryList": self._summaries(
                lambda build: version_arn is None or build.arn.rpartition("/")[0] == version_arn
            )
        }

    def get_image(self, parameters: _Parameters) -> _Parameters:
        """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_GetImage.html"""
        build = self._find(parameters["imageBuildVersionArn"])
        return {"image": {**build.summary(), "sourcePipelineArn": build.pipeline_arn}}

    def cancel_image_creation(self, parameters: _Parameters) -> _Parameters:
        """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CancelImageCreation.html"""
        build = self._find(parameters["imageBuildVersionArn"])
        if build.ended:
            raise ServiceError("InvalidRequestException", f"{build.arn} is {build.status} and cannot be cancelled")
        build.cancel.set()
        return {"clientToken": parameters["clientToken"], "imageBuildVersionArn": build.arn}

    def delete_image(self, parameters: _Parameters) -> _Parameters:
        """Forgets the image; the AMI stays, as on AWS.

        https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_DeleteImage.html
        """
        build = self._find(parameters["imageBuildVersionArn"])
        if not build.ended:
            raise ServiceError("InvalidRequestException", f"{build.arn} is {build.status}; cancel it first")
        with self._lock:
            self._builds.remove(build)
        return {"imageBuildVersionArn": build.arn}

    def _run(self, build: Build) -> None:
        def report(status: str) -> None:
            build.status = status

        try:
            build.image_id = self._workshop.make(build.recipe, build.cancel, report)
            build.status = "AVAILABLE"
        except CancelledError:
            build.status = "CANCELLED"
        except LocalError as error:
            build.reason = str(error)[:_LONGEST_REASON]
            build.status = "FAILED"
        except Exception as error:
            # Whatever it is, whoever waits for the build must learn that it is over.
            logger.exception("build %s", build.arn)
            build.reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            build.status = "FAILED"

    def _next_arn(self, recipe: Recipe) -> str:
        version = arn("imagebuilder", f"image/{recipe.name}/{recipe.version}")
        numbers = [int(build.arn.rpartition("/")[2]) for build in self._builds if build.arn.startswith(f"{version}/")]
        return f"{version}/{max(numbers, default=0) + 1}"

    def _find(self, build_arn: str) -> Build:
        with self._lock:
            build = next((build for build in self._builds if build.arn == build_arn), None)
        if build is None:
            raise ServiceError("ResourceNotFoundException", f"the image {build_arn} does not exist")
        return build

    def _summaries(self, chosen: Callable[[Build], bool]) -> list[dict[str, Any]]:
        with self._lock:
            builds = [build for build in self._builds if chosen(build)]
        return [build.summary() for build in reversed(builds)]


def _names(parameters: _Parameters) -> list[str] | None:
    """The names that a request filters by; None if it does not."""
    filters = parameters.get("filters") or []
    if [entry["name"] for entry in filters] not in ([], ["name"]):
        raise ServiceError("InvalidParameterValueException", "the local endpoint filters images by name alone")
    return list(filters[0]["values"]) if filters else None
