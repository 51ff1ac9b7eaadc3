"""Published images: Systems Manager parameters of data type `aws:ec2:image`, from which launch templates start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lambdas.common.errors import ImageNotVisibleError

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


def published_images(ssm: SSMClient, parameters: Iterable[str]) -> dict[str, str]:
    """The AMI id of each parameter that exists."""
    response = ssm.get_parameters(Names=sorted(parameters))
    return {entry["Name"]: entry["Value"] for entry in response["Parameters"]}


def publish_images(ssm: SSMClient, images: Mapping[str, str]) -> tuple[str, ...]:
    """Puts AMI ids (the mapping's values) into parameters (its keys); the names of those that held something else.

    Parameter Store answers before it has validated an AMI id, and keeps the old value when the id turns out invalid
    (https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-ec2-aliases.html). So the parameters
    are read again, and `ImageNotVisibleError` asks for a later attempt, which puts only what is not visible by then.
    """
    current = published_images(ssm, images)
    changed = tuple(name for name in sorted(images) if current.get(name) != images[name])
    for name in changed:
        ssm.put_parameter(Name=name, Value=images[name], Type="String", DataType="aws:ec2:image", Overwrite=True)
    if not changed:
        return changed
    visible = published_images(ssm, changed)
    invisible = [f"{name} should hold {images[name]}" for name in changed if visible.get(name) != images[name]]
    if invisible:
        raise ImageNotVisibleError(
            f"{'; '.join(invisible)}, but does not yet. If it never does, the AMI is not available in this account."
        )
    return changed
