"""RollBack: return to what was before a failed deployment, and say in words what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lambdas.common import clients
from lambdas.common.builds import IN_PROGRESS, builds_of, status_of
from lambdas.common.errors import (
    ImageNotVisibleError,
    RolloutEndingError,
    WorkflowError,
    error_code,
    is_transient,
)
from lambdas.common.images import publish_images
from lambdas.common.models import Before, GroupBefore
from lambdas.common.rollouts import UNDER_WAY, in_service, latest_refresh, start_refresh
from lambdas.common.task import run_task
from lambdas.start_image_builds import idempotency_token

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_autoscaling.type_defs import InstanceRefreshTypeDef
    from mypy_boto3_imagebuilder import ImagebuilderClient
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True)
class RollBack:
    """The failed execution: what was before (no groups if it never began), which images it had published (if any)."""

    execution_arn: str
    started_at: str
    entered_at: str  # when the failure was caught, at the first attempt
    pipeline_arns: tuple[str, ...]
    health_check_types: Mapping[str, str]  # of the groups between deployments, by the keys of `before.groups`
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
    """Restores the groups if the deployment had come to them, and the published images; cancels unfinished builds.

    Machines of a withdrawn image that have taken the place of old ones are replaced again: that is begun here, and
    ends by itself. Each step is taken whatever becomes of the others; then the first error is raised, those that pass
    by before those that last. All of it may be done again without harm. Of an execution that was refused at its
    beginning nothing is touched.
    """
    if not request.before.groups:
        return Report(request.error, _text(request, "Nothing was begun, so nothing was undone."))
    done: list[str] = []
    failed: list[Exception] = []

    def attempt(step: Callable[[], Iterable[str]]) -> None:
        try:
            done.extend(step())
        except (ClientError, WorkflowError) as error:
            failed.append(error)

    groups = list(request.before.groups.items()) if request.published else []
    for key, group in groups:
        attempt(partial(_restore_group, key, group, request, autoscaling))
    attempt(partial(_restore_images, request, ssm))
    if not request.published:
        for arn in request.pipeline_arns:
            attempt(partial(_cancel_builds, arn, request, imagebuilder))
    if not failed:
        for _, group in groups:
            attempt(partial(_replace_again, group, request, autoscaling))
    if failed:
        raise min(failed, key=_lasts)
    undone = f"Undone: {'; '.join(done) or 'nothing had to be'}. Remove the cause, then run the deployment again."
    serving = _in_service([group for _, group in groups], autoscaling) if groups else ""
    return Report(request.error, _text(request, undone + serving))


def _lasts(error: Exception) -> bool:
    """Whether trying again does not help."""
    if isinstance(error, ClientError):
        return not is_transient(error)
    return not isinstance(error, ImageNotVisibleError | RolloutEndingError)


def _restore_group(key: str, group: GroupBefore, request: RollBack, autoscaling: AutoScalingClient) -> Iterator[str]:
    refresh = _latest_refresh(group, request, autoscaling)
    if refresh is not None and not _begun_here(refresh, request) and refresh["Status"] in UNDER_WAY:
        try:
            autoscaling.cancel_instance_refresh(AutoScalingGroupName=group.group_name)
        except ClientError as error:
            if error_code(error) != "ActiveInstanceRefreshNotFound":  # it has just ended
                raise
    autoscaling.update_auto_scaling_group(
        AutoScalingGroupName=group.group_name,
        MinSize=group.min_size,
        MaxSize=group.max_size,
        DesiredCapacity=group.desired_capacity,
        HealthCheckType=request.health_check_types[key],
    )
    yield f"returned {group.group_name} to {group.desired_capacity} instances"


def _replace_again(group: GroupBefore, request: RollBack, autoscaling: AutoScalingClient) -> Iterator[str]:
    """Has the instances replaced by ones of the restored image, if any were replaced by ones of the withdrawn."""
    refresh = _latest_refresh(group, request, autoscaling)
    if refresh is None:
        return
    if not _begun_here(refresh, request):
        if refresh.get("PercentageComplete", 0) == 0:
            return  # what it may have launched beside the old instances goes first when the size is restored
        try:
            start_refresh(autoscaling, group.group_name)
        except ClientError as error:
            if error_code(error) != "InstanceRefreshInProgress":
                raise
            raise RolloutEndingError(f"the instance refresh of {group.group_name} is still being cancelled") from error
    yield (
        f"began to replace the instances of {group.group_name}, some of which run the withdrawn image; until that has "
        "ended, no deployment can begin (aws autoscaling describe-instance-refreshes --auto-scaling-group-name "
        f"{group.group_name})"
    )


def _in_service(groups: Sequence[GroupBefore], autoscaling: AutoScalingClient) -> str:
    """How many instances of each group serve at this moment, as a line."""
    names = [group.group_name for group in groups]
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"]
    serving = {group["AutoScalingGroupName"]: len(in_service(group)) for group in found}
    return "\nIn service now: " + ", ".join(f"{serving.get(name, 0)} in {name}" for name in names)


def _latest_refresh(
    group: GroupBefore, request: RollBack, autoscaling: AutoScalingClient
) -> InstanceRefreshTypeDef | None:
    """The group's last refresh, if it was begun since the deployment was."""
    if group.desired_capacity == 0:
        return None
    refresh, began = latest_refresh(autoscaling, group.group_name), datetime.fromisoformat(request.started_at)
    # A pending one may have no time yet.
    return refresh if refresh is not None and refresh.get("StartTime", began) >= began else None


def _begun_here(refresh: InstanceRefreshTypeDef, request: RollBack) -> bool:
    """Whether an earlier attempt at the roll-back has begun it, not the deployment."""
    return "StartTime" in refresh and refresh["StartTime"] >= datetime.fromisoformat(request.entered_at)


def _restore_images(request: RollBack, ssm: SSMClient) -> Iterator[str]:
    before = request.before.images
    changed = publish_images(ssm, before)
    # An earlier attempt may have put some that are visible only now.
    withdrawn = {name for name, image in request.published.items() if before.get(name) != image}
    yield from (f"restored {name}" for name in sorted(withdrawn.union(changed)))


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


def _text(request: RollBack, undone: str) -> str:
    return f"{request.error}: {request.message}\nExecution: {request.execution_arn}\n{undone}"
