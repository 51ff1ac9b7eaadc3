"""EndRollout: have EC2 Auto Scaling judge instances as it does between deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.common import clients
from lambdas.common.task import run_task

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient


@dataclass(frozen=True)
class EndRollout:
    """Whom to believe that an instance is to be replaced, `EC2` or `ELB`, by the name of the group."""

    health_check_types: Mapping[str, str]


def handler(event: object, _context: object = None) -> Any:
    """`EndRollout` → nothing."""
    autoscaling = clients.client("autoscaling")
    return run_task(EndRollout, event, lambda request: end_rollout(request, autoscaling))


def end_rollout(request: EndRollout, autoscaling: AutoScalingClient) -> None:
    """Takes back what LaunchFleet has set for the time of a replacement."""
    for group_name, health_check_type in request.health_check_types.items():
        autoscaling.update_auto_scaling_group(AutoScalingGroupName=group_name, HealthCheckType=health_check_type)
