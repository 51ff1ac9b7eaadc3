"""The events of a stack."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

STACK_TYPE = "AWS::CloudFormation::Stack"


@dataclass(frozen=True)
class Event:
    """A change of the status of a resource, or of the stack itself."""

    logical_id: str
    physical_id: str
    type_name: str
    status: str
    reason: str
    token: str
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def to_api(self, stack_id: str, stack_name: str) -> dict[str, Any]:
        """The event as `DescribeStackEvents` gives it."""
        found = {
            "StackId": stack_id,
            "StackName": stack_name,
            "EventId": self.id,
            "LogicalResourceId": self.logical_id,
            "PhysicalResourceId": self.physical_id,
            "ResourceType": self.type_name,
            "ResourceStatus": self.status,
            "Timestamp": self.time,
        }
        if self.reason:
            found["ResourceStatusReason"] = self.reason
        if self.token:
            found["ClientRequestToken"] = self.token
        return found
