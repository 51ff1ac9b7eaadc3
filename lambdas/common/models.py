"""What travels between the states of a deployment. Keys of the JSON are the camelCase of these names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pipeline:
    """An Image Builder pipeline and the Systems Manager parameter that holds its newest published image."""

    pipeline_arn: str
    image_parameter: str


@dataclass(frozen=True)
class ImageBuild:
    """A run of a pipeline; `image_id` is the AMI once there is one."""

    pipeline_arn: str
    image_parameter: str
    build_arn: str
    image_id: str | None


@dataclass(frozen=True)
class ImageBuilds:
    """The builds of a deployment by image name, how often they were looked at, and whether all are available."""

    builds: Mapping[str, ImageBuild]
    checks: int
    finished: bool


@dataclass(frozen=True)
class GroupBefore:
    """Size of an Auto Scaling group before the deployment touched it."""

    group_name: str
    min_size: int
    max_size: int
    desired_capacity: int


@dataclass(frozen=True)
class Before:
    """What a failed deployment returns to: groups by name, and published images by the name of their parameter.

    Without groups, the deployment has not begun.
    """

    groups: Mapping[str, GroupBefore]
    images: Mapping[str, str]


@dataclass(frozen=True)
class Fleet:
    """An Auto Scaling group with the target groups whose health counts."""

    group_name: str
    target_group_arns: tuple[str, ...]


@dataclass(frozen=True)
class Launch:
    """What a deployment did to a group: it replaces instances that were there, or filled an empty group."""

    group_name: str
    replacing: bool


@dataclass(frozen=True)
class Health:
    """Whether all targets are healthy, how often that was asked, and what is still awaited."""

    healthy: bool
    checks: int
    waiting_for: str
