"""LaunchMockServers and LaunchSecureProxy: instances of the newly published image, in place of any old ones.

One function of the stack for each group, each with a role of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lambdas.common import clients
from lambdas.common.errors import RolloutInProgressError, error_code
from lambdas.common.models import GroupBefore, Launch
from lambdas.common.rollouts import start_refresh
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient


@dataclass(frozen=True)
class LaunchFleet:
    """The group as it was, how many instances it has at least and at most, and how often this state was retried."""

    before: GroupBefore
    capacity: int
    max_capacity: int
    retries: int


def handler(event: object, _context: object = None) -> Any:
    """`LaunchFleet` → `Launch`."""
    autoscaling = clients.client("autoscaling")
    return run_task(LaunchFleet, event, lambda request: launch_fleet(request, autoscaling))


def launch_fleet(request: LaunchFleet, autoscaling: AutoScalingClient) -> Launch:
    """Fills an empty group, or has EC2 Auto Scaling replace the instances of one that is not.

    A group that is no larger than it had to be gets the size that it must have now; one that people have made larger
    keeps its size, within the bounds. A replacement starts as many new instances as there are to be and ends the old
    ones when the new ones are healthy, for their load balancers too: EndRollout takes that back. Raises
    `RolloutInProgressError` when somebody else began one since the deployment began.
    """
    group_name, replacing = request.before.group_name, request.before.desired_capacity > 0
    resize = partial(
        autoscaling.update_auto_scaling_group,
        AutoScalingGroupName=group_name,
        MinSize=request.capacity,
        MaxSize=request.max_capacity,
    )
    if not replacing:
        resize(DesiredCapacity=request.capacity)
        return Launch(group_name, replacing=False)
    if request.before.desired_capacity == request.before.min_size:
        resize(DesiredCapacity=request.capacity, HealthCheckType="ELB")
    else:
        resize(HealthCheckType="ELB")  # EC2 Auto Scaling fits the size, whatever it is by now, into the bounds
    try:
        start_refresh(autoscaling, group_name)
    except ClientError as error:
        # The call knows no idempotency token: on a retry, the refresh under way is that of the first attempt.
        if error_code(error) != "InstanceRefreshInProgress":
            raise
        if request.retries == 0:
            raise RolloutInProgressError(
                f"an instance refresh of {group_name} was begun by somebody else while the images were built"
            ) from error
    return Launch(group_name, replacing=True)
