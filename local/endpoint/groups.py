"""What EC2 Auto Scaling knows of a group beside what moto does: activities, the refresh under way, pauses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

ACTIVE = frozenset({"Pending", "InProgress", "Cancelling"})

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between attempts to launch


@dataclass
class Activity:
    """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_Activity.html"""

    description: str
    cause: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    status: str = "InProgress"
    message: str | None = None
    activity_id: str = field(default_factory=lambda: str(uuid4()))

    def end(self, status: str = "Successful", reason: str | None = None) -> None:
        """It is over: well, or `Failed` or `Cancelled` with the reason why."""
        self.ended, self.status, self.message = datetime.now(UTC), status, reason
        if reason:
            self.description = f"{self.description}.  Status Reason: {reason}"

    def document(self, group_name: str) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "ActivityId": self.activity_id,
            "AutoScalingGroupName": group_name,
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": self.started,
            "EndTime": self.ended,
            "StatusCode": self.status,
            "StatusMessage": self.message,
            "Progress": 50 if self.ended is None else 100,
            "Details": "{}",
        }


@dataclass
class Refresh:
    """An instance refresh: which instances it replaces, and how it stands.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_InstanceRefresh.html
    """

    old: frozenset[str]
    preferences: Mapping[str, Any]
    deadline: float
    status: str = "Pending"
    reason: str | None = None
    replaced: int = 0
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    refresh_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def active(self) -> bool:
        """Whether it is under way, or on its way to be over."""
        return self.status in ACTIVE

    def needed(self, desired: int) -> int:
        """How many healthy instances a group of that size must keep."""
        return math.ceil(desired * int(self.preferences.get("MinHealthyPercentage", 90)) / 100)

    def bearable(self, desired: int) -> int:
        """How many instances a group of that size may have at once; at least one more than it must keep."""
        most = math.floor(desired * int(self.preferences.get("MaxHealthyPercentage", 100)) / 100)
        return max(most, self.needed(desired) + 1)

    def end(self, status: str, reason: str | None = None) -> None:
        """It is over."""
        self.status, self.reason, self.ended = status, reason, datetime.now(UTC)

    def document(self, group_name: str) -> dict[str, Any]:
        """As the API tells it."""
        done = 100 if not self.old else 100 * self.replaced // len(self.old)
        return {
            "InstanceRefreshId": self.refresh_id,
            "AutoScalingGroupName": group_name,
            "Status": self.status,
            "StatusReason": self.reason,
            "StartTime": self.started,
            "EndTime": self.ended,
            "PercentageComplete": 100 if self.status == "Successful" else done,
            "InstancesToUpdate": len(self.old) - self.replaced,
            "Preferences": dict(self.preferences),
        }


@dataclass
class GroupHistory:
    """What was done to a group, newest last, and until when no further launch is tried."""

    activities: list[Activity] = field(default_factory=list)
    refreshes: list[Refresh] = field(default_factory=list)
    failures: int = 0
    paused_until: float = 0.0
    running: dict[str, Activity] = field(default_factory=dict)  # by instance id

    @property
    def refresh(self) -> Refresh | None:
        """The refresh that is under way."""
        return self.refreshes[-1] if self.refreshes and self.refreshes[-1].active else None

    def begin(self, description: str, cause: str, instance_id: str | None = None) -> Activity:
        """Note that something is begun, with an instance if there is one already."""
        activity = Activity(description, f"At {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {cause}")
        self.activities.append(activity)
        if instance_id:
            self.running[instance_id] = activity
        return activity

    def end(self, instance_id: str, status: str = "Successful", reason: str | None = None) -> None:
        """Note the end of what is under way with an instance, if anything is."""
        activity = self.running.pop(instance_id, None)
        if activity:
            activity.end(status, reason)

    def pause(self, now: float) -> None:
        """A launch failed: the next is tried later, and later still if that fails too."""
        self.paused_until = now + min(_FIRST_PAUSE * 2**self.failures, _LONGEST_PAUSE)
        self.failures += 1

    def launched(self) -> None:
        """A launch succeeded."""
        self.failures, self.paused_until = 0, 0.0
