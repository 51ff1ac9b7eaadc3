"""CheckHealth: ask whether all instances are there and healthy behind their load balancers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.common import clients
from lambdas.common.errors import FleetNotFoundError, RolloutFailedError, TargetsUnhealthyError
from lambdas.common.models import Fleet, Health, Launch
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client

_REFRESHING = frozenset({"Pending", "InProgress", "Baking"})


@dataclass(frozen=True)
class CheckHealth:
    """The fleets and what was done to them, by name; the last look, and how often one may be taken."""

    fleets: Mapping[str, Fleet]
    launches: Mapping[str, Launch]
    health: Health
    max_checks: int


def handler(event: object, _context: object = None) -> Any:
    """`CheckHealth` → `Health`."""
    autoscaling, elbv2 = clients.client("autoscaling"), clients.client("elbv2")
    return run_task(CheckHealth, event, lambda request: check_health(request, autoscaling, elbv2))


def check_health(request: CheckHealth, autoscaling: AutoScalingClient, elbv2: ElasticLoadBalancingv2Client) -> Health:
    """Healthy: every replacement has ended well and every target group has a healthy target for each instance.

    Raises `RolloutFailedError` when EC2 Auto Scaling gives up, and `TargetsUnhealthyError` when something is still
    awaited at the last permitted look; both say what and why.
    """
    awaited = [text for fleet in request.fleets.values() for text in _awaited(fleet, request, autoscaling, elbv2)]
    checks = request.health.checks + 1
    if awaited and checks >= request.max_checks:
        failures = [text for fleet in request.fleets.values() for text in _failed_activities(fleet, autoscaling)]
        raise TargetsUnhealthyError(
            f"after {checks} looks, the most that are permitted: {'; '.join(awaited + failures)}"
        )
    return Health(healthy=not awaited, checks=checks, waiting_for="; ".join(awaited))


def _awaited(
    fleet: Fleet, request: CheckHealth, autoscaling: AutoScalingClient, elbv2: ElasticLoadBalancingv2Client
) -> Iterator[str]:
    if any(launch.replacing and launch.group_name == fleet.group_name for launch in request.launches.values()):
        yield from _awaited_of_refresh(fleet.group_name, autoscaling)
    capacity = _capacity(fleet.group_name, autoscaling)
    for arn in fleet.target_group_arns:
        yield from _awaited_of_targets(arn, capacity, elbv2)


def _awaited_of_refresh(group_name: str, autoscaling: AutoScalingClient) -> Iterator[str]:
    # Listed newest first; BeginDeployment made sure that none was under way before this deployment's.
    refresh = autoscaling.describe_instance_refreshes(AutoScalingGroupName=group_name, MaxRecords=1)[
        "InstanceRefreshes"
    ][0]
    if refresh["Status"] in _REFRESHING:
        yield f"{group_name} has replaced {refresh.get('PercentageComplete', 0)} % of its instances"
    elif refresh["Status"] != "Successful":
        reason = refresh.get("StatusReason", "EC2 Auto Scaling gives no reason")
        raise RolloutFailedError(f"the instance refresh of {group_name} ended as {refresh['Status']}: {reason}")


def _capacity(group_name: str, autoscaling: AutoScalingClient) -> int:
    groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group_name])["AutoScalingGroups"]
    if not groups:
        raise FleetNotFoundError(f"{group_name} does not exist; deploy the stack again")
    return groups[0]["DesiredCapacity"]


def _awaited_of_targets(arn: str, capacity: int, elbv2: ElasticLoadBalancingv2Client) -> Iterator[str]:
    targets = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    states = [(target["Target"]["Id"], target["TargetHealth"]) for target in targets]
    healthy = sum(1 for _, health in states if health["State"] == "healthy")
    # A target that is draining is an old instance on its way out.
    waiting = [
        f"{instance} {health['State']}" + (f" ({health['Description']})" if health.get("Description") else "")
        for instance, health in states
        if health["State"] not in ("healthy", "draining")
    ]
    if healthy < max(capacity, 1) or waiting:
        detail = f": {', '.join(waiting)}" if waiting else ""
        yield f"{arn.split('/')[1]} has {healthy} healthy targets of {capacity}{detail}"


def _failed_activities(fleet: Fleet, autoscaling: AutoScalingClient) -> Iterator[str]:
    activities = autoscaling.describe_scaling_activities(AutoScalingGroupName=fleet.group_name, MaxRecords=10)
    for activity in activities["Activities"]:
        if activity["StatusCode"] in ("Failed", "Cancelled"):
            yield f"{activity['Description']}: {activity.get('StatusMessage', 'no reason given')}"
            return
