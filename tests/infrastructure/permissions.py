"""Policies of a template: what each role may do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.synthesis import Template


@dataclass(frozen=True)
class Statement:
    """A statement of a policy, with its resources as text."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Any
    policy: str  # logical id of the resource that holds it


def statements_of_role(template: Template, role_id: str) -> list[Statement]:
    """All statements that a role has: inline, in policies that name it, and in managed policies of the template."""
    role = template.resources[role_id]["Properties"]
    found = [s for policy in role.get("Policies", []) for s in _statements(template, policy["PolicyDocument"], role_id)]
    managed = [arn["Ref"] for arn in role.get("ManagedPolicyArns", []) if isinstance(arn, dict) and "Ref" in arn]
    for policy_id in managed:
        document = template.resources[policy_id]["Properties"]["PolicyDocument"]
        found += _statements(template, document, policy_id)
    for resource_type in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for policy_id, entry in template.of_type(resource_type).items():
            if {"Ref": role_id} in entry["Properties"].get("Roles", []):
                found += _statements(template, entry["Properties"]["PolicyDocument"], policy_id)
    return found


def all_statements(template: Template) -> Iterator[Statement]:
    """Every statement of a policy that is attached to somebody."""
    for role_id in template.of_type("AWS::IAM::Role"):
        yield from statements_of_role(template, role_id)


def role_of_function(template: Template, function_id: str) -> str:
    """The logical id of a function's role."""
    return str(template.resources[function_id]["Properties"]["Role"]["Fn::GetAtt"][0])


def _statements(template: Template, document: dict[str, Any], policy: str) -> list[Statement]:
    return [
        Statement(
            entry["Effect"],
            _list(entry["Action"]),
            tuple(str(template.resolve(resource)) for resource in _list(entry["Resource"])),
            entry.get("Condition"),
            policy,
        )
        for entry in document["Statement"]
    ]


def _list(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)
