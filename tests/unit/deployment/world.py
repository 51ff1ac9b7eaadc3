"""An account with a deployment in it: moto, and the part of Image Builder that it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError

from deployment.account import Aws
from stacks.names import IMAGE_TAG, OWNER_TAG, STACK
from tests.unit.lambdas.scenario import ACCOUNT, REGION

PIPELINE = f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image-pipeline/secure-proxy"
_TAGS = [{"Key": OWNER_TAG, "Value": STACK}, {"Key": IMAGE_TAG, "Value": "secure-proxy"}]
_TEMPLATE = {
    "Resources": {
        "AccessLogs": {"Type": "AWS::S3::Bucket", "Properties": {"VersioningConfiguration": {"Status": "Enabled"}}},
        "ProxyLogs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "SecureProxy"}},
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "192.168.0.0/16"}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "192.168.0.0/22", "AvailabilityZone": f"{REGION}a"},
        },
        "Template": {
            "Type": "AWS::EC2::LaunchTemplate",
            "Properties": {"LaunchTemplateData": {"ImageId": "ami-12c6146b", "InstanceType": "t3.medium"}},
        },
        "Proxies": {
            "Type": "AWS::AutoScaling::AutoScalingGroup",
            "Properties": {
                "MinSize": "2",
                "MaxSize": "4",
                "DesiredCapacity": "2",
                "VPCZoneIdentifier": [{"Ref": "Subnet"}],
                "LaunchTemplate": {
                    "LaunchTemplateId": {"Ref": "Template"},
                    "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]},
                },
            },
        },
    }
}


class ImageBuilder:
    """Builds by ARN, with their state and tags."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.on_cancel: Callable[[], None] = lambda: None

    def build(self, name: str, state: str = "AVAILABLE") -> str:
        arn = f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image/{name}"
        self.states[arn] = state
        return arn

    def list_images(self, *, owner: str, filters: list[dict[str, Any]]) -> dict[str, Any]:
        assert owner == "Self"
        (wanted,) = [entry["values"] for entry in filters if entry["name"] == "name"]
        versions = {arn.rsplit("/", 1)[0] for arn in self.states if arn.split(":image/")[1].split("/")[0] in wanted}
        return {"imageVersionList": [{"arn": arn} for arn in sorted(versions)]}

    def list_image_build_versions(self, *, imageVersionArn: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        return {"imageSummaryList": [self._summary(arn) for arn in self.states if arn.startswith(imageVersionArn)]}

    def list_image_pipeline_images(self, *, imagePipelineArn: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert imagePipelineArn == PIPELINE
        return {"imageSummaryList": [self._summary(arn) for arn in self.states if ":image/secure-proxy/" in arn]}

    def cancel_image_creation(self, *, imageBuildVersionArn: str, clientToken: str) -> None:  # noqa: N803
        assert clientToken
        self.cancelled.append(imageBuildVersionArn)
        self.on_cancel()

    def delete_image(self, *, imageBuildVersionArn: str) -> None:  # noqa: N803 - boto3's name
        if self.states[imageBuildVersionArn] in ("BUILDING", "TESTING"):
            raise ClientError({"Error": {"Code": "ResourceDependencyException", "Message": "building"}}, "DeleteImage")
        del self.states[imageBuildVersionArn]

    def _summary(self, arn: str) -> dict[str, Any]:
        owner = "somebody" if "/9.9.9/" in arn else STACK
        return {"arn": arn, "state": {"status": self.states[arn]}, "tags": {OWNER_TAG: owner}}


class AutoScaling:
    """moto's, with the one call that it lacks: no instances are being replaced."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def cancel_instance_refresh(self, *, AutoScalingGroupName: str) -> None:  # noqa: N803 - boto3's name
        assert AutoScalingGroupName
        code = "ActiveInstanceRefreshNotFound"
        raise ClientError({"Error": {"Code": code, "Message": "none"}}, "CancelInstanceRefresh")


class MotoAws(Aws):
    """moto's services, and those that it lacks in part or in whole."""

    def __init__(self) -> None:
        super().__init__(boto3.Session(region_name=REGION), REGION)
        self.image_builder = ImageBuilder()

    def client(self, service: str) -> Any:
        if service == "imagebuilder":
            return self.image_builder
        client = super().client(service)
        return AutoScaling(client) if service == "autoscaling" else client


def deployed() -> MotoAws:
    """A stack with a bucket that holds versions, a group with instances, two AMIs, and images that pipelines made."""
    aws = MotoAws()
    aws.client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(_TEMPLATE))
    s3, bucket = aws.client("s3"), resource(aws, "AccessLogs")
    for body in (b"first", b"second"):
        s3.put_object(Bucket=bucket, Key="public/log.gz", Body=body)
    s3.put_object(Bucket=bucket, Key="internal/log.gz", Body=b"third")
    s3.delete_object(Bucket=bucket, Key="internal/log.gz")
    for number in (1, 2):
        make_ami(aws, f"secure-proxy {number}")
        aws.image_builder.build(f"secure-proxy/1.0.{number}/1")
    aws.client("ssm").put_parameter(Name="/secure-proxy/images/secure-proxy", Value="ami-1", Type="String")
    return aws


def make_ami(aws: Aws, name: str, *, tagged: bool = True) -> str:
    """An AMI with a snapshot, as Image Builder leaves it; the instance that it was made of is gone."""
    ec2 = aws.client("ec2")
    instance = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    image: str = ec2.create_image(InstanceId=instance, Name=name)["ImageId"]
    ec2.terminate_instances(InstanceIds=[instance])
    if tagged:
        ec2.create_tags(Resources=[image], Tags=_TAGS)
    return image


def resource(aws: Aws, logical_id: str) -> str:
    """The physical id of a resource of the stack."""
    found = aws.client("cloudformation").describe_stack_resource(StackName=STACK, LogicalResourceId=logical_id)
    return str(found["StackResourceDetail"]["PhysicalResourceId"])


def snapshots_of(aws: Aws, image: str) -> list[str]:
    found = aws.client("ec2").describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    return [mapping["Ebs"]["SnapshotId"] for mapping in found]
