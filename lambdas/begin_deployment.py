"""BeginDeployment: refuse to run beside another deployment, and note what a failed one must return to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lambdas.common import clients
from lambdas.common.errors import (
    DeploymentInProgressError,
    FleetNotFoundError,
    RolloutEndingError,
    RolloutInProgressError,
)
from lambdas.common.images import published_images
from lambdas.common.models import Before, GroupBefore
from lambdas.common.rollouts import ENDING, UNDER_WAY, latest_refresh
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient


@dataclass(frozen=True)
class BeginDeployment:
    """The execution, the Auto Scaling groups by name, and the parameters of the published images."""

    state_machine_arn: str
    execution_arn: str
    started_at: str
    group_names: Mapping[str, str]
    image_parameters: tuple[str, ...]


def handler(event: object, _context: object = None) -> Any:
    """`BeginDeployment` → `Before`."""
    sfn, autoscaling, ssm = (clients.client(service) for service in ("stepfunctions", "autoscaling", "ssm"))
    return run_task(BeginDeployment, event, lambda request: begin_deployment(request, sfn, autoscaling, ssm))


def begin_deployment(
    request: BeginDeployment, sfn: SFNClient, autoscaling: AutoScalingClient, ssm: SSMClient
) -> Before:
    """The state of the fleet and of the published images before the deployment.

    Raises `DeploymentInProgressError` when an execution that started earlier still runs, `RolloutInProgressError` when
    the instances of a group are being replaced, `RolloutEndingError` when that is being cancelled.
    """
    _refuse_second_execution(request, sfn)
    for group_name in request.group_names.values():
        _refuse_running_rollout(group_name, autoscaling)
    return Before(
        groups=_groups_before(request.group_names, autoscaling),
        images=published_images(ssm, request.image_parameters),
    )


def _refuse_second_execution(request: BeginDeployment, sfn: SFNClient) -> None:
    running: dict[str, datetime] = {}
    pages = sfn.get_paginator("list_executions").paginate(
        stateMachineArn=request.state_machine_arn, statusFilter="RUNNING"
    )
    for page in pages:
        running.update({execution["executionArn"]: execution["startDate"] for execution in page["executions"]})
    # Two that start at once both see each other: the one with the smaller ARN goes on.
    own = (running.get(request.execution_arn, datetime.fromisoformat(request.started_at)), request.execution_arn)
    earlier = min((start, arn) for arn, start in {**running, own[1]: own[0]}.items())
    if earlier != own:
        raise DeploymentInProgressError(
            f"{earlier[1]} started earlier and is still running. Wait until it has ended, or stop it with "
            f"`aws stepfunctions stop-execution --execution-arn {earlier[1]}`, then start again."
        )


def _refuse_running_rollout(group_name: str, autoscaling: AutoScalingClient) -> None:
    latest = latest_refresh(autoscaling, group_name)
    status = latest["Status"] if latest else None
    if status in ENDING:
        raise RolloutEndingError(f"an earlier instance refresh of {group_name} has the status {status}")
    if status in UNDER_WAY:
        raise RolloutInProgressError(
            f"an instance refresh of {group_name} is under way. Wait until it has ended, or stop it with "
            f"`aws autoscaling cancel-instance-refresh --auto-scaling-group-name {group_name}`, then start again."
        )


def _groups_before(group_names: Mapping[str, str], autoscaling: AutoScalingClient) -> dict[str, GroupBefore]:
    response = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=sorted(group_names.values()))
    found = {group["AutoScalingGroupName"]: group for group in response["AutoScalingGroups"]}
    missing = sorted(set(group_names.values()) - found.keys())
    if missing:
        raise FleetNotFoundError(f"{', '.join(missing)} does not exist; deploy the stack again")
    return {
        key: GroupBefore(name, found[name]["MinSize"], found[name]["MaxSize"], found[name]["DesiredCapacity"])
        for key, name in group_names.items()
    }
