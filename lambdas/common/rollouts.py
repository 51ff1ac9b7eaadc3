"""Instances of Auto Scaling groups: which serve, how all are replaced, and which replacements have not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef, InstanceRefreshTypeDef

# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_InstanceRefresh.html
UNDER_WAY = frozenset({"Pending", "InProgress", "Baking"})
ENDING = frozenset({"Cancelling", "RollbackInProgress"})


def in_service(group: AutoScalingGroupTypeDef) -> list[str]:
    """Ids of the instances that are neither on their way in nor out."""
    return [entry["InstanceId"] for entry in group.get("Instances", []) if entry["LifecycleState"] == "InService"]


def latest_refresh(autoscaling: AutoScalingClient, group_name: str) -> InstanceRefreshTypeDef | None:
    """The group's last refresh, under way or over; nothing when it never had one."""
    # Listed newest first.
    found = autoscaling.describe_instance_refreshes(AutoScalingGroupName=group_name, MaxRecords=1)["InstanceRefreshes"]
    return found[0] if found else None


def start_refresh(autoscaling: AutoScalingClient, group_name: str) -> None:
    """Has all instances replaced by ones of the published image, each new one healthy before an old one goes."""
    autoscaling.start_instance_refresh(
        AutoScalingGroupName=group_name,
        Strategy="Rolling",
        Preferences={
            "MinHealthyPercentage": 100,
            "MaxHealthyPercentage": 200,
            "SkipMatching": False,
            "ScaleInProtectedInstances": "Refresh",
            "StandbyInstances": "Terminate",
        },
    )
