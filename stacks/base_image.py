"""The operating systems that images are made from, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

from stacks.settings import ProjectSettings


@dataclass(frozen=True)
class BaseImage:
    """An AWS-managed image, its newest version, on one architecture."""

    image_builder_name: str  # in Image Builder's catalogue
    public_parameter: str  # in Parameter Store, holding the AMI id
    root_device: str
    managed_components: tuple[str, ...]  # AWS's own components for what the base image lacks


_AGENT = "amazon-cloudwatch-agent-linux"
_CLI = "aws-cli-version-2-linux"
_IMAGES = {
    ("amazon-linux-2023", "x86_64"): BaseImage(
        "amazon-linux-2023-x86",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
        "/dev/xvda",
        (_AGENT,),
    ),
    ("amazon-linux-2023", "arm64"): BaseImage(
        "amazon-linux-2023-arm64",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
        "/dev/xvda",
        (_AGENT,),
    ),
    ("ubuntu-24.04", "x86_64"): BaseImage(
        "ubuntu-server-24-lts-x86",
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        "/dev/sda1",
        (_CLI, _AGENT),
    ),
    ("ubuntu-24.04", "arm64"): BaseImage(
        "ubuntu-server-24-lts-arm64",
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id",
        "/dev/sda1",
        (_CLI, _AGENT),
    ),
}


def base_image(settings: ProjectSettings) -> BaseImage:
    """The base image that the settings name, on the architecture that their instance types have."""
    return _IMAGES[(settings.imagebuilder.base_image, settings.architecture)]
