"""The CloudFormation stack: whether it is there, in which state, and what to do about that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from deployment.account import Aws
from deployment.errors import NotStartedError
from deployment.hints import Hints
from lambdas.common.errors import error_code
from stacks.names import STACK

# A failed creation: what is there cannot be updated, only removed.
_TO_BE_REMOVED = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS"})
_TO_BE_CONTINUED = frozenset({"UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED"})
_BEGINNINGS = frozenset({"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"})
_GONE = frozenset({"DELETE_COMPLETE"})


@dataclass(frozen=True)
class Stack:
    """The stack as CloudFormation describes it."""

    id: str
    status: str
    reason: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Resource:
    """A resource of the stack that exists, or may."""

    kind: str
    physical_id: str
    logical_id: str


def find_stack(aws: Aws, name: str = STACK) -> Stack | None:
    """The stack of that name or id, unless there is none or it was deleted."""
    try:
        found = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error_code(error) == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    if found["StackStatus"] in _GONE:
        return None
    return Stack(
        id=found["StackId"],
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        parameters={entry["ParameterKey"]: entry["ParameterValue"] for entry in found.get("Parameters", [])},
        outputs={entry["OutputKey"]: entry["OutputValue"] for entry in found.get("Outputs", [])},
    )


def check_deployable(stack: Stack | None, aws: Aws, hints: Hints) -> None:
    """Raises `NotStartedError` with what to do, when the stack is in a state that no deployment can start from."""
    if stack is None:
        return
    said = f"the stack {STACK} is in state {stack.status}"
    if stack.status in _TO_BE_REMOVED:
        cause = "".join(f" It began with {text}." for text in first_failure(aws, stack))
        raise NotStartedError(
            f"{said}: its creation failed, and it can only be removed.{cause} Run: {hints.destroy}; then deploy again"
        )
    if stack.status == "DELETE_FAILED":
        raise NotStartedError(f"{said} ({stack.reason or 'no reason given'}). Finish removing it: {hints.destroy}")
    if stack.status in _TO_BE_CONTINUED:
        raise NotStartedError(
            f"{said} ({stack.reason or 'no reason given'}). Remove the cause, then run: "
            f"{hints.continue_rollback(aws.region)}; when that has ended, deploy again"
        )
    if stack.status.endswith("_IN_PROGRESS"):
        raise NotStartedError(
            f"{said}: somebody works on it. Wait until that has ended; look with: {hints.stack_events(aws.region)}"
        )


def first_failure(aws: Aws, stack: Stack) -> Iterator[str]:
    """The failure that the others followed from, if CloudFormation still knows: `Resource (type): reason`."""
    pages = aws.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack.id)
    first: Any = None
    for event in (event for page in pages for event in page["StackEvents"]):  # newest first
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in event.get("ResourceStatusReason", ""):
            first = event
        if event["ResourceType"] == "AWS::CloudFormation::Stack" and event["ResourceStatus"] in _BEGINNINGS:
            break
    if first is not None:
        yield _told(first)


def resources_of(aws: Aws, stack: Stack) -> list[Resource]:
    """What of the stack exists."""
    pages = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack.id)
    return [
        Resource(entry["ResourceType"], entry["PhysicalResourceId"], entry["LogicalResourceId"])
        for page in pages
        for entry in page["StackResourceSummaries"]
        if entry["ResourceStatus"] not in _GONE and entry.get("PhysicalResourceId")
    ]


def failed_deletions(aws: Aws, stack: Stack) -> list[str]:
    """The resources that CloudFormation could not delete, each with the reason."""
    pages = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack.id)
    entries = (entry for page in pages for entry in page["StackResourceSummaries"])
    return [_told(entry) for entry in entries if entry["ResourceStatus"] == "DELETE_FAILED"]


def _told(entry: Mapping[str, Any]) -> str:
    """A resource or event of the stack: `Resource (type): reason`."""
    reason = entry.get("ResourceStatusReason", "no reason given")
    return f"{entry['LogicalResourceId']} ({entry['ResourceType']}): {reason}"
