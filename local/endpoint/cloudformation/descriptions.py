"""Stacks as CloudFormation's API describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.endpoint.cloudformation.stack import Stack


def described_resources(stack: Stack) -> list[dict[str, Any]]:
    """What exists of a stack."""
    last = {event.logical_id: event for event in list(stack.events)}
    return [
        {
            "StackId": stack.id,
            "StackName": stack.name,
            "LogicalResourceId": resource.logical_id,
            "PhysicalResourceId": resource.made.ref,
            "ResourceType": resource.type_name,
            "ResourceStatus": last[resource.logical_id].status,
            "Timestamp": last[resource.logical_id].time,
            "LastUpdatedTimestamp": last[resource.logical_id].time,
        }
        for resource in stack.resources
    ]


def exists(stack: Stack) -> bool:
    """Whether it is found by its name."""
    return stack.status != "DELETE_COMPLETE"


def is_change_set(entry: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Whether a request names that change set, by its ARN or by its name and its stack's."""
    named = parameters["ChangeSetName"]
    return named == entry["ChangeSetId"] or (
        named == entry["ChangeSetName"] and parameters.get("StackName") in (entry["StackId"], entry["StackName"])
    )


def described(stack: Stack) -> dict[str, Any]:
    """The stack itself."""
    found: dict[str, Any] = {
        "StackId": stack.id,
        "StackName": stack.name,
        "CreationTime": stack.created,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason or None,
        "Description": (stack.template.description if stack.template else "") or None,
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in stack.parameters.items()],
        "Outputs": list(stack.outputs.values()),
        "Tags": stack.tags,
        "EnableTerminationProtection": stack.protected,
        "DisableRollback": False,
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    return {key: value for key, value in found.items() if value is not None}
