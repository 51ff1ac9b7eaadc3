"""What others need to know of the stack: Systems Manager parameters for programs, outputs for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from stacks.names import export_name


@dataclass(frozen=True)
class Fact:
    """A value that the stack makes known: as the output `name`, and as a parameter if it has a name for one."""

    name: str
    description: str
    value: str
    parameter: str | None = None


def make_known(scope: Construct, *facts: Fact) -> None:
    """Adds each fact's output, exported, and its parameter."""
    for fact in facts:
        output = cdk.CfnOutput(
            scope,
            f"{fact.name}Output",
            description=fact.description,
            value=fact.value,
            export_name=export_name(fact.name),
        )
        output.override_logical_id(fact.name)
        if fact.parameter is not None:
            ssm.StringParameter(
                scope,
                f"{fact.name}Parameter",
                parameter_name=fact.parameter,
                description=fact.description,
                string_value=fact.value,
            )


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with its `${NAME}` placeholders filled, as an instance fills them at boot."""
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text
