"""What must be done before CloudFormation can delete the stack, call by call."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from deployment import destroy as module
from deployment.emptying import empty_bucket, empty_groups, stop_executions
from deployment.errors import DeploymentError
from deployment.stack import Stack
from tests.unit.deployment.support import EXECUTION, MACHINE, STACK_ID, Screen, StubbedAws, described_stack, waiter
from tests.unit.lambdas.scenario import REGION, Call

STACK = Stack(STACK_ID, "CREATE_COMPLETE", "", {}, {})
BUCKET_RESOURCE = {
    "LogicalResourceId": "AccessLogs",
    "PhysicalResourceId": "logs-bucket",
    "ResourceType": "AWS::S3::Bucket",
    "ResourceStatus": "CREATE_COMPLETE",
    "LastUpdatedTimestamp": "2026-01-01T10:00:00Z",
}


def test_running_executions_are_stopped_with_a_reason() -> None:
    running = {
        "executionArn": EXECUTION,
        "stateMachineArn": MACHINE,
        "name": "x",
        "status": "RUNNING",
        "startDate": "2026-01-01T10:00:00Z",
    }
    asked = {"stateMachineArn": MACHINE, "statusFilter": "RUNNING"}
    stop = {"executionArn": EXECUTION, "error": "Destroyed", "cause": "the deployment is being removed"}
    aws = StubbedAws(
        [
            Call("stepfunctions", "list_executions", asked, {"executions": [running]}),
            Call("stepfunctions", "stop_execution", stop, {"stopDate": "2026-01-01T10:00:00Z"}),
        ]
    )
    assert stop_executions(aws, [MACHINE]) == [EXECUTION]
    aws.stubs.assert_all_made()


def group(*instances: str) -> Call:
    described = [
        {
            "InstanceId": name,
            "AvailabilityZone": f"{REGION}a",
            "LifecycleState": "Terminating",
            "HealthStatus": "Healthy",
            "ProtectedFromScaleIn": False,
        }
        for name in instances
    ]
    answer = {
        "AutoScalingGroupName": "proxies",
        "MinSize": 0,
        "MaxSize": 4,
        "DesiredCapacity": 0,
        "DefaultCooldown": 300,
        "AvailabilityZones": [f"{REGION}a"],
        "HealthCheckType": "ELB",
        "CreatedTime": "2026-01-01T10:00:00Z",
        "Instances": described,
    }
    asked = {"AutoScalingGroupNames": ["proxies"]}
    return Call("autoscaling", "describe_auto_scaling_groups", asked, {"AutoScalingGroups": [answer]})


CANCEL = {"AutoScalingGroupName": "proxies"}
SHRINK = {"AutoScalingGroupName": "proxies", "MinSize": 0, "DesiredCapacity": 0}
NO_REFRESH = Call("autoscaling", "cancel_instance_refresh", CANCEL, error="ActiveInstanceRefreshNotFound")
SHRUNK = Call("autoscaling", "update_auto_scaling_group", SHRINK)


def test_groups_are_empty_when_their_last_instance_is_gone() -> None:
    aws, screen = StubbedAws([NO_REFRESH, SHRUNK, group("i-1", "i-2"), group("i-2"), group()]), Screen()
    empty_groups(aws, ["proxies"], waiter(screen))
    aws.stubs.assert_all_made()
    assert screen.lines == ["instances that end: i-1, i-2", "instances that end: i-2"]


def test_a_rollout_under_way_is_cancelled_first() -> None:
    cancelled = Call("autoscaling", "cancel_instance_refresh", CANCEL, {"InstanceRefreshId": "x"})
    aws = StubbedAws([cancelled, SHRUNK, group()])
    empty_groups(aws, ["proxies"], waiter(Screen()))
    aws.stubs.assert_all_made()


def test_a_group_that_is_gone_already_is_empty() -> None:
    text = "AutoScalingGroup name not found - proxies"
    asked = {"AutoScalingGroupNames": ["proxies"]}
    aws = StubbedAws(
        [
            Call("autoscaling", "cancel_instance_refresh", CANCEL, error="ValidationError", message=text),
            Call("autoscaling", "update_auto_scaling_group", SHRINK, error="ValidationError", message=text),
            Call("autoscaling", "describe_auto_scaling_groups", asked, {"AutoScalingGroups": []}),
        ]
    )
    empty_groups(aws, ["proxies"], waiter(Screen()))
    aws.stubs.assert_all_made()


def test_instances_that_never_end_are_named() -> None:
    looks = [group("i-1") for _ in range(200)]
    with pytest.raises(DeploymentError, match="after 30 minutes there is still: instances that end: i-1"):
        empty_groups(StubbedAws([NO_REFRESH, SHRUNK, *looks]), ["proxies"], waiter(Screen()))


LIST = {"Bucket": "logs-bucket"}
UNLOGGED = Call("s3", "put_bucket_logging", {**LIST, "BucketLoggingStatus": {}})


def versions(*keys: str) -> Call:
    entries = [{"Key": key, "VersionId": f"v-{key}"} for key in keys]
    return Call("s3", "list_object_versions", LIST, {"Versions": entries[:1], "DeleteMarkers": entries[1:]})


def deleted(*keys: str, **answer: Any) -> Call:
    objects = [{"Key": key, "VersionId": f"v-{key}"} for key in keys]
    asked = {"Bucket": "logs-bucket", "Delete": {"Objects": objects, "Quiet": True}}
    return Call("s3", "delete_objects", asked, answer)


def test_a_bucket_loses_versions_and_delete_markers() -> None:
    aws = StubbedAws([UNLOGGED, versions("a", "b"), deleted("a", "b")])
    assert empty_bucket(aws, "logs-bucket") == 2
    aws.stubs.assert_all_made()


def test_a_bucket_that_is_gone_already_is_empty() -> None:
    gone = Call("s3", "put_bucket_logging", UNLOGGED.parameters, error="NoSuchBucket")
    assert empty_bucket(StubbedAws([gone]), "logs-bucket") == 0


def test_an_object_that_cannot_be_deleted_is_named() -> None:
    problem = {"Key": "a", "Code": "AccessDenied", "Message": "Access Denied"}
    with pytest.raises(DeploymentError, match="logs-bucket/a cannot be deleted: Access Denied"):
        empty_bucket(StubbedAws([UNLOGGED, versions("a"), deleted("a", Errors=[problem])]), "logs-bucket")


def test_other_errors_of_a_bucket_pass() -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        empty_bucket(
            StubbedAws([UNLOGGED, Call("s3", "list_object_versions", LIST, error="AccessDenied")]), "logs-bucket"
        )


def resources(status: str = "CREATE_COMPLETE", reason: str = "") -> Call:
    entry = {**BUCKET_RESOURCE, "ResourceStatus": status} | ({"ResourceStatusReason": reason} if reason else {})
    asked = {"StackName": STACK_ID}
    return Call("cloudformation", "list_stack_resources", asked, {"StackResourceSummaries": [entry]})


DELETE = Call("cloudformation", "delete_stack", {"StackName": STACK_ID})


def state(status: str) -> Call:
    return Call("cloudformation", "describe_stacks", {"StackName": STACK_ID}, described_stack(status))


NO_BUILDS = Call("imagebuilder", "list_images", {"owner": "Self", "filters": [
    {"name": "name", "values": ["secure-proxy", "secure-proxy-mock-servers"]}]}, {"imageVersionList": []})  # fmt: skip


def test_a_bucket_that_was_written_to_meanwhile_is_emptied_again() -> None:
    first = [
        resources(),
        DELETE,
        state("DELETE_IN_PROGRESS"),
        resources(),
        state("DELETE_FAILED"),
        state("DELETE_FAILED"),
    ]
    gone = [state("DELETE_COMPLETE"), state("DELETE_COMPLETE")]
    second = [resources("DELETE_FAILED"), DELETE, state("DELETE_IN_PROGRESS"), *gone]
    buckets = [UNLOGGED, versions("a"), deleted("a"), UNLOGGED, versions("late"), deleted("late")]
    aws, screen = StubbedAws([*first, NO_BUILDS, *second, *buckets]), Screen()
    module._delete_stack(STACK, aws, waiter(screen))
    aws.stubs.assert_all_made()
    assert screen.lines[-1] == "stack EC2ImageBuilderSecureProxy: deleted"


def test_a_stack_that_cannot_be_deleted_says_what_holds_it() -> None:
    failed = [state("DELETE_FAILED"), state("DELETE_FAILED")]
    again = [DELETE, state("DELETE_IN_PROGRESS"), *failed]
    held = resources("DELETE_FAILED", "The bucket you tried to delete is not empty")
    calls = [resources(), DELETE, *failed, NO_BUILDS, held, *again, NO_BUILDS, held, *again, held]
    empty = [UNLOGGED, Call("s3", "list_object_versions", LIST, {})] * 3
    aws = StubbedAws([*calls, *empty])
    with pytest.raises(DeploymentError, match=r"AccessLogs \(AWS::S3::Bucket\): The bucket you tried to delete is not"):
        module._delete_stack(STACK, aws, waiter(Screen()))
    aws.stubs.assert_all_made()
