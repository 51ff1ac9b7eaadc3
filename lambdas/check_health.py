"""CheckHealth: ask whether all instances are there and healthy behind their load balancers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.common import clients
from lambdas.common.errors import FleetNotFoundError, RolloutFailedError, TargetsUnhealthyError
from lambdas.common.models import Fleet, Health, Launch
from lambdas.common.rollouts import UNDER_WAY, in_service, latest_refresh
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import TargetHealthTypeDef


@dataclass(frozen=True)
class CheckHealth:
    """The fleets and what was done to them, by name; the last look, how often one may be taken, and how far apart."""

    fleets: Mapping[str, Fleet]
    launches: Mapping[str, Launch]
    health: Health
    max_checks: int
    poll_seconds: int


def handler(event: object, _context: object = None) -> Any:
    """`CheckHealth` → `Health`."""
    autoscaling, elbv2 = clients.client("autoscaling"), clients.client("elbv2")
    return run_task(CheckHealth, event, lambda request: check_health(request, autoscaling, elbv2))


def check_health(request: CheckHealth, autoscaling: AutoScalingClient, elbv2: ElasticLoadBalancingv2Client) -> Health:
    """Healthy: every replacement has ended well and every instance is healthy in all target groups of its group.

    Of a target group that is filled from elsewhere, one healthy target is enough. Targets that are nobody's instances
    in service do not count: old ones on their way out, and ones that people have registered beside ours.

    Raises `RolloutFailedError` when EC2 Auto Scaling gives up, and `TargetsUnhealthyError` when something is still
    awaited at the last permitted look; both say what and why.
    """
    awaited = [text for fleet in request.fleets.values() for text in _awaited(fleet, request, autoscaling, elbv2)]
    checks = request.health.checks + 1
    if awaited and checks >= request.max_checks:
        failures = [text for fleet in request.fleets.values() for text in _failed_activities(fleet, autoscaling)]
        minutes = checks * request.poll_seconds / 60
        raise TargetsUnhealthyError(
            f"still not healthy after {minutes:.0f} minutes: {'; '.join(awaited + failures)}. The logs of the machines "
            "tell why: of proxies in their log group, of others through Session Manager"
        )
    return Health(healthy=not awaited, checks=checks, waiting_for="; ".join(awaited))


def _awaited(
    fleet: Fleet, request: CheckHealth, autoscaling: AutoScalingClient, elbv2: ElasticLoadBalancingv2Client
) -> Iterator[str]:
    if any(launch.replacing and launch.group_name == fleet.group_name for launch in request.launches.values()):
        yield from _awaited_of_refresh(fleet.group_name, autoscaling)
    group = _group(fleet.group_name, autoscaling)
    for arn in fleet.target_group_arns:
        if arn in group.get("TargetGroupARNs", []):
            yield from _awaited_of_instances(arn, group, elbv2)
        elif not any(state == "healthy" for state in _targets(arn, elbv2).values()):
            yield f"{_name(arn)} has no healthy target"


def _awaited_of_refresh(group_name: str, autoscaling: AutoScalingClient) -> Iterator[str]:
    # This deployment's: BeginDeployment made sure that none was under way before.
    refresh = latest_refresh(autoscaling, group_name)
    if refresh is None or refresh["Status"] in UNDER_WAY:
        done = refresh.get("PercentageComplete", 0) if refresh else 0
        yield f"{group_name} has replaced {done} % of its instances"
    elif refresh["Status"] != "Successful":
        reason = refresh.get("StatusReason", "EC2 Auto Scaling gives no reason")
        raise RolloutFailedError(f"the instance refresh of {group_name} ended as {refresh['Status']}: {reason}")


def _group(group_name: str, autoscaling: AutoScalingClient) -> AutoScalingGroupTypeDef:
    groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group_name])["AutoScalingGroups"]
    if not groups:
        raise FleetNotFoundError(f"{group_name} does not exist; deploy the stack again")
    return groups[0]


def _awaited_of_instances(
    arn: str, group: AutoScalingGroupTypeDef, elbv2: ElasticLoadBalancingv2Client
) -> Iterator[str]:
    targets = _targets(arn, elbv2)
    states = {instance: targets.get(instance, "not registered") for instance in in_service(group)}
    healthy = sum(1 for state in states.values() if state == "healthy")
    waiting = [f"{instance} {state}" for instance, state in states.items() if state != "healthy"]
    if healthy < max(group["DesiredCapacity"], 1) or waiting:
        detail = f": {', '.join(waiting)}" if waiting else ""
        yield f"{_name(arn)} has {healthy} healthy targets of {group['DesiredCapacity']}{detail}"


def _targets(arn: str, elbv2: ElasticLoadBalancingv2Client) -> dict[str, str]:
    """The states of a target group's targets by their id: `healthy`, or another and why."""
    found = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return {entry["Target"]["Id"]: _state(entry["TargetHealth"]) for entry in found}


def _state(health: TargetHealthTypeDef) -> str:
    state, description = health["State"], health.get("Description")
    return f"{state} ({description})" if description and state != "healthy" else state


def _name(arn: str) -> str:
    return arn.split("/")[1]


def _failed_activities(fleet: Fleet, autoscaling: AutoScalingClient) -> Iterator[str]:
    activities = autoscaling.describe_scaling_activities(AutoScalingGroupName=fleet.group_name, MaxRecords=10)
    for activity in activities["Activities"]:
        if activity["StatusCode"] in ("Failed", "Cancelled"):
            yield f"{activity['Description']}: {activity.get('StatusMessage', 'no reason given')}"
            return
