"""RollBack: return to what was before a failed deployment, and say in words what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lambdas.common import clients
from lambdas.common.builds import IN_PROGRESS, builds_of, status_of
from lambdas.common.errors import error_code, is_transient
from lambdas.common.images import publish_images
from lambdas.common.models import Before, GroupBefore
from lambdas.common.task import run_task
from lambdas.start_image_builds import idempotency_token

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_imagebuilder import ImagebuilderClient
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True)
class RollBack:
    """The failed execution: what was before (no groups if it never began), which images it had published (if any)."""

    execution_arn: str
    started_at: str
    pipeline_arns: tuple[str, ...]
    before: Before
    published: Mapping[str, str]
    failure: Mapping[str, str]  # as the state machine caught it: `Error`, and `Cause` unless a state timed out

    @property
    def error(self) -> str:
        """The name of the error."""
        return self.failure.get("Error", "an error without a name")

    @property
    def message(self) -> str:
        """What the failed function said; AWS Lambda wraps it in JSON beside the stack trace."""
        cause = self.failure.get("Cause", "no cause was given")
        try:
            document = json.loads(cause)
        except ValueError:
            return cause
        return str(document.get("errorMessage", cause)) if isinstance(document, dict) else cause


@dataclass(frozen=True)
class Report:
    """The failed state's error and a text for a person."""

    error: str
    text: str


def handler(event: object, _context: object = None) -> Any:
    """`RollBack` → `Report`."""
    ssm, autoscaling, imagebuilder = (clients.client(service) for service in ("ssm", "autoscaling", "imagebuilder"))
    return run_task(RollBack, event, lambda request: roll_back(request, ssm, autoscaling, imagebuilder))


def roll_back(
    request: RollBack, ssm: SSMClient, autoscaling: AutoScalingClient, imagebuilder: ImagebuilderClient
) -> Report:
    """Restores the published images, the groups if the deployment had come to them, and cancels unfinished builds.

    All of it may be done again without harm. Of an execution that was refused at its beginning nothing is touched.
    """
    done: list[str] = []
    if request.before.groups:
        done += [f"restored {name}" for name in publish_images(ssm, request.before.images)]
        if request.published:
            done += [_restore_group(group, autoscaling) for group in request.before.groups.values()]
        else:
            done += [text for arn in request.pipeline_arns for text in _cancel_builds(arn, request, imagebuilder)]
    return Report(error=request.error, text=_text(request, done))


def _restore_group(group: GroupBefore, autoscaling: AutoScalingClient) -> str:
    if group.desired_capacity > 0:
        try:
            autoscaling.cancel_instance_refresh(AutoScalingGroupName=group.group_name)
        except ClientError as error:
            if error_code(error) != "ActiveInstanceRefreshNotFound":
                raise
    autoscaling.update_auto_scaling_group(
        AutoScalingGroupName=group.group_name, MinSize=group.min_size, DesiredCapacity=group.desired_capacity
    )
    return f"returned {group.group_name} to {group.desired_capacity} instances"


def _cancel_builds(pipeline_arn: str, request: RollBack, imagebuilder: ImagebuilderClient) -> Iterator[str]:
    """Cancels what this deployment started: only one runs at a time, and scheduled builds are not a deployment's."""
    started_at = datetime.fromisoformat(request.started_at)
    for build in builds_of(imagebuilder, pipeline_arn):
        if (
            status_of(build) in IN_PROGRESS
            and build.get("buildType", "USER_INITIATED") == "USER_INITIATED"
            and datetime.fromisoformat(build["dateCreated"]) >= started_at
        ):
            yield _cancel(build["arn"], request.execution_arn, imagebuilder)


def _cancel(build_arn: str, execution_arn: str, imagebuilder: ImagebuilderClient) -> str:
    try:
        imagebuilder.cancel_image_creation(
            imageBuildVersionArn=build_arn, clientToken=idempotency_token(execution_arn, build_arn)
        )
    except ClientError as error:
        if is_transient(error):
            raise
        # It may have ended by itself in the meantime; an image that nobody publishes does no harm.
        return f"could not cancel {build_arn}: {error}"
    return f"cancelled {build_arn}"


def _text(request: RollBack, done: list[str]) -> str:
    if request.before.groups:
        undone = f"Undone: {'; '.join(done) or 'nothing had to be'}. Remove the cause, then run the deployment again."
    else:
        undone = "Nothing was begun, so nothing was undone."
    return f"{request.error}: {request.message}\nExecution: {request.execution_arn}\n{undone}"
