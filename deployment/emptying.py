"""What must be done before CloudFormation can delete the stack: nothing runs, groups and bucket are empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from deployment.account import Aws
from deployment.errors import DeploymentError
from deployment.execution import running_executions
from deployment.waiting import Waiter
from lambdas.common.errors import error_code

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_stepfunctions import SFNClient

_GROUPS_WITHIN_SECONDS = 30 * 60.0


def stop_executions(aws: Aws, machines: Sequence[str]) -> list[str]:
    """Stops executions that have not ended; their ARNs. What they have started, such as builds, goes on."""
    sfn: SFNClient = aws.client("stepfunctions")
    running = [arn for machine in machines for arn in running_executions(sfn, machine)]
    for arn in running:
        sfn.stop_execution(executionArn=arn, error="Destroyed", cause="the deployment is being removed")
    return running


def empty_groups(aws: Aws, groups: Sequence[str], waiter: Waiter) -> None:
    """Sets the size of the groups to nothing and waits until their instances are gone."""
    autoscaling: AutoScalingClient = aws.client("autoscaling")
    for name in groups:
        _shrink(autoscaling, name)

    def instances_left() -> str:
        found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=list(groups))["AutoScalingGroups"]
        left = [instance["InstanceId"] for group in found for instance in group.get("Instances", [])]
        return f"instances that end: {', '.join(left)}" if left else ""

    if groups:
        waiter.until_nothing(instances_left, within=_GROUPS_WITHIN_SECONDS)


def empty_bucket(aws: Aws, bucket: str) -> int:
    """Deletes every version of every object; how many there were. A bucket that is gone already is empty.

    Its own log ends first: what is deleted here would be written down in it.
    """
    s3, count = aws.client("s3"), 0
    try:
        s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            if not entries:
                continue
            keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for problem in answer.get("Errors", []):
                raise DeploymentError(f"{bucket}/{problem['Key']} cannot be deleted: {problem['Message']}")
            count += len(keys)
    except ClientError as error:
        if error_code(error) != "NoSuchBucket":
            raise
    return count


def _shrink(autoscaling: AutoScalingClient, name: str) -> None:
    try:
        autoscaling.cancel_instance_refresh(AutoScalingGroupName=name)
    except ClientError as error:
        # ValidationError: there is no such group any more.
        if error_code(error) not in ("ActiveInstanceRefreshNotFound", "ValidationError"):
            raise
    try:
        autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, DesiredCapacity=0)
    except ClientError as error:
        if error_code(error) != "ValidationError" or "not found" not in str(error):
            raise
