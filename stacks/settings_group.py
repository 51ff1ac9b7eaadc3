"""What every group of settings is made of: read-only models whose fields say what they are for and when they count."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Effect(StrEnum):
    """When a changed value takes effect."""

    STACK = "stack"  # with the next deployment of the CloudFormation stack
    ROLLOUT = "rollout"  # when the workflow comes to the groups of machines
    BOTH = "stack, then image build"  # running machines do not fit the stack until new ones have taken their place
    IMAGE = "image build"  # built into the next image, so the workflow must run too
    BOOT = "instance boot"  # handed over as user data: instances started after the next deployment have it


def setting(default: Any, effect: Effect, description: str, *, alias: str | None = None) -> Any:
    return Field(default, description=description, json_schema_extra={"effect": effect.value}, alias=alias)


class Group(BaseModel):
    """An object of the file: read-only, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_default=True)
