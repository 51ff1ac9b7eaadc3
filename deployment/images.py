"""What the pipelines have made and no stack owns: Image Builder images, AMIs and their snapshots. Found by tag."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from deployment.account import Aws
from lambdas.common.builds import IN_PROGRESS, builds_of, status_of
from lambdas.common.errors import error_code
from stacks.names import MOCK_SERVERS_IMAGE, OWNER_TAG, SECURE_PROXY_IMAGE, STACK

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_imagebuilder import ImagebuilderClient
    from mypy_boto3_imagebuilder.type_defs import ImageSummaryTypeDef

_OWNED: Any = {"Name": f"tag:{OWNER_TAG}", "Values": [STACK]}
_NOT_TERMINATED: Any = {
    "Name": "instance-state-name",
    "Values": ["pending", "running", "shutting-down", "stopping", "stopped"],
}


@dataclass(frozen=True)
class Ami:
    """An AMI of ours with the snapshots that it is made of."""

    id: str
    name: str
    snapshots: tuple[str, ...]


@dataclass(frozen=True)
class Build:
    """An image of Image Builder: one run of a pipeline."""

    arn: str
    status: str

    @property
    def name(self) -> str:
        """Such as `secure-proxy/1.0.123/1`."""
        return self.arn.split(":image/")[-1]

    @property
    def in_progress(self) -> bool:
        """Whether it must be cancelled before it can be deleted."""
        return self.status in IN_PROGRESS


def find_amis(aws: Aws) -> list[Ami]:
    """The AMIs that carry the stack's tag."""
    pages = _ec2(aws).get_paginator("describe_images").paginate(Owners=["self"], Filters=[_OWNED])
    return [
        Ami(
            image["ImageId"],
            image.get("Name", ""),
            tuple(
                mapping["Ebs"]["SnapshotId"]
                for mapping in image.get("BlockDeviceMappings", [])
                if mapping.get("Ebs", {}).get("SnapshotId")
            ),
        )
        for page in pages
        for image in page["Images"]
    ]


def find_snapshots(aws: Aws) -> list[str]:
    """The snapshots that carry the stack's tag."""
    pages = _ec2(aws).get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=[_OWNED])
    return [snapshot["SnapshotId"] for page in pages for snapshot in page["Snapshots"]]


def find_instances(aws: Aws) -> list[str]:
    """Instances that carry the stack's tag and are not terminated: those that build and test images."""
    pages = _ec2(aws).get_paginator("describe_instances").paginate(Filters=[_OWNED, _NOT_TERMINATED])
    return [
        instance["InstanceId"]
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    ]


def find_builds(aws: Aws, pipelines: Sequence[str]) -> list[Build]:
    """The builds that Image Builder keeps: those of the pipelines, and those that carry the stack's tag."""
    imagebuilder: ImagebuilderClient = aws.client("imagebuilder")
    found = {entry["arn"]: entry for arn in pipelines for entry in builds_of(imagebuilder, arn)}
    found |= {entry["arn"]: entry for entry in _tagged_builds(imagebuilder)}
    return [Build(arn, status_of(entry)) for arn, entry in sorted(found.items()) if status_of(entry) != "DELETED"]


def cancel_build(aws: Aws, build: Build) -> None:
    """Asks Image Builder to end a build, unless it has ended by itself."""
    imagebuilder: ImagebuilderClient = aws.client("imagebuilder")
    _unless(
        lambda: imagebuilder.cancel_image_creation(imageBuildVersionArn=build.arn, clientToken=str(uuid.uuid4())),
        "InvalidRequestException",
        "ResourceNotFoundException",
    )


def delete_build(aws: Aws, build: Build) -> None:
    """Deletes an image of Image Builder; its AMIs stay."""
    imagebuilder: ImagebuilderClient = aws.client("imagebuilder")
    _unless(lambda: imagebuilder.delete_image(imageBuildVersionArn=build.arn), "ResourceNotFoundException")


def delete_ami(aws: Aws, ami: Ami) -> None:
    """Deregisters an AMI. Its snapshots are tagged first, so that they are found even if we end right after."""
    ec2 = _ec2(aws)
    if ami.snapshots:
        ec2.create_tags(Resources=list(ami.snapshots), Tags=[{"Key": OWNER_TAG, "Value": STACK}])
    _unless(lambda: ec2.deregister_image(ImageId=ami.id), "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")


def delete_snapshot(aws: Aws, snapshot: str) -> None:
    """Deletes a snapshot whose AMI is deregistered."""
    _unless(lambda: _ec2(aws).delete_snapshot(SnapshotId=snapshot), "InvalidSnapshot.NotFound")


def terminate_instances(aws: Aws, instances: Sequence[str]) -> None:
    """Terminates build instances that Image Builder has left behind."""
    if instances:
        _ec2(aws).terminate_instances(InstanceIds=list(instances))


def _tagged_builds(imagebuilder: ImagebuilderClient) -> Iterator[ImageSummaryTypeDef]:
    names: Any = [{"name": "name", "values": [SECURE_PROXY_IMAGE, MOCK_SERVERS_IMAGE]}]
    for versions in _pages(imagebuilder.list_images, owner="Self", filters=names):
        for version in versions["imageVersionList"]:
            for builds in _pages(imagebuilder.list_image_build_versions, imageVersionArn=version["arn"]):
                for entry in builds["imageSummaryList"]:
                    if entry.get("tags", {}).get(OWNER_TAG) == STACK:
                        yield entry


def _pages(call: Callable[..., Any], **parameters: Any) -> Iterator[Any]:
    page = call(**parameters)
    yield page
    while token := page.get("nextToken"):
        page = call(**parameters, nextToken=token)
        yield page


def _unless(call: Callable[[], object], *codes: str) -> None:
    """Calls; an error with one of these codes means that there is nothing left to do."""
    try:
        call()
    except ClientError as error:
        if error_code(error) not in codes:
            raise


def _ec2(aws: Aws) -> EC2Client:
    client: EC2Client = aws.client("ec2")
    return client
