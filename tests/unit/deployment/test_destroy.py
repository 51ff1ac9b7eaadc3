"""Removing everything, in one go, in two, and when there is little left to remove."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from deployment import destroy as module
from deployment import images
from deployment.console import Console
from deployment.destroy import DestroyOptions, destroy
from deployment.emptying import empty_bucket
from deployment.errors import DeploymentError, InterruptedByUserError, NotStartedError
from deployment.hints import Hints
from deployment.inventory import Inventory
from deployment.stack import Stack
from deployment.waiting import Waiter
from stacks.names import OWNER_TAG, STACK
from tests.unit.deployment.support import IDENTITY, STACK_ID, Screen, StubbedAws, waiter
from tests.unit.deployment.world import MotoAws, deployed, make_ami, resource, snapshots_of
from tests.unit.lambdas.scenario import Call

OPTIONS = DestroyOptions(confirm=False)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoAws]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # thousands, which no test looks at
    with mock_aws():
        world = deployed()
        monkeypatch.setattr(module, "connect", lambda _: world)
        yield world


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Where the removal writes; its waits take no time."""
    shown = Screen()

    def timeless(_console: Console, poll: float) -> Waiter:
        return waiter(shown, poll=poll)

    monkeypatch.setattr(module, "Waiter", timeless)
    return shown


def remove(screen: Screen, options: DestroyOptions = OPTIONS) -> list[str]:
    destroy(options, {}, screen)
    return screen.lines


def everything(aws: MotoAws) -> list[str]:
    """All that costs money and is ours, by asking each service."""
    ec2 = aws.client("ec2")
    amis = ec2.describe_images(Owners=["self"], Filters=[{"Name": f"tag:{OWNER_TAG}", "Values": [STACK]}])["Images"]
    running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    return [
        *(bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]),
        *(image["ImageId"] for image in amis),
        *(entry["InstanceId"] for found in ec2.describe_instances(Filters=running)["Reservations"]
          for entry in found["Instances"]),
        *(group["logGroupName"] for group in aws.client("logs").describe_log_groups()["logGroups"]),
        *(group["AutoScalingGroupName"]
          for group in aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]),
        *(entry["Name"] for entry in aws.client("ssm").describe_parameters()["Parameters"]),
        *aws.image_builder.states,
    ]  # fmt: skip


def existing(aws: MotoAws, snapshots: list[str]) -> list[str]:
    """Those of the snapshots that still exist, tagged or not."""
    all_of_them = aws.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return [entry["SnapshotId"] for entry in all_of_them if entry["SnapshotId"] in snapshots]


def test_what_will_be_deleted_is_listed_first(aws: MotoAws, screen: Screen) -> None:
    bucket, group = resource(aws, "AccessLogs"), resource(aws, "Proxies")
    lines = remove(screen)
    listed = lines[lines.index("This will be deleted:") : lines.index("Auto Scaling groups are empty")]
    for text in (
        f"  stack {STACK} (CREATE_COMPLETE), 6 resources",
        f"  Auto Scaling group {group}",
        f"  bucket {bucket} with all that is in it",
        "  log group SecureProxy",
        "  Image Builder image secure-proxy/1.0.1/1 (AVAILABLE)",
        "  parameter /secure-proxy/images/secure-proxy",
    ):
        assert text in listed
    assert sum(line.startswith("  AMI ") for line in listed) == 2
    assert sum(line.startswith("  snapshot ") for line in listed) == 2


def test_afterwards_nothing_is_left(aws: MotoAws, screen: Screen) -> None:
    snapshots = [name for image in images.find_amis(aws) for name in image.snapshots]
    assert len(existing(aws, snapshots)) == 2
    lines = remove(screen)
    assert everything(aws) == []
    assert existing(aws, snapshots) == []
    assert "nothing is left" in lines
    assert any(f"delete-stack --stack-name CDKToolkit --region {aws.region}" in line for line in lines)


def test_without_an_account_of_the_users_nothing_is_said_of_what_stays_in_it(aws: MotoAws, screen: Screen) -> None:
    del aws
    assert "delete-stack" not in "\n".join(remove(screen, replace(OPTIONS, hints=Hints("--local"))))


def test_images_of_others_stay(aws: MotoAws, screen: Screen) -> None:
    ami = make_ami(aws, "of somebody else", tagged=False)
    build = aws.image_builder.build("secure-proxy/9.9.9/1")
    (snapshot,) = snapshots_of(aws, ami)
    remove(screen)
    assert snapshots_of(aws, ami) == [snapshot]
    assert list(aws.image_builder.states) == [build]


def test_a_second_time_there_is_nothing_to_remove(aws: MotoAws, screen: Screen) -> None:
    remove(screen)
    again = Screen()
    destroy(OPTIONS, {}, again)
    assert any(line.startswith("there is nothing to remove") for line in again.lines)


def test_when_the_stack_is_gone_already_its_images_are_found_by_tag(aws: MotoAws, screen: Screen) -> None:
    empty_bucket(aws, resource(aws, "AccessLogs"))
    aws.client("cloudformation").delete_stack(StackName=STACK)
    assert len(images.find_amis(aws)) == 2
    remove(screen)
    assert everything(aws) == []


@pytest.mark.parametrize("step", ["delete_build", "delete_ami", "delete_snapshot"])
def test_what_a_broken_removal_left_is_removed_by_the_next(
    aws: MotoAws, screen: Screen, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    snapshots = [name for image in images.find_amis(aws) for name in image.snapshots]
    assert len(existing(aws, snapshots)) == 2
    real: Callable[..., Any] = getattr(images, step)
    calls = []

    def breaks(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(images, step, breaks)
    with pytest.raises(InterruptedByUserError, match=r"take up where this ended with: bash destroy\.sh"):
        remove(screen)
    monkeypatch.setattr(images, step, real)
    remove(screen)
    assert everything(aws) == []
    assert existing(aws, snapshots) == []


def test_a_build_in_progress_is_cancelled_and_waited_for(
    aws: MotoAws, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = aws.image_builder.build("secure-proxy/1.0.3/1", "BUILDING")
    looks: list[None] = []

    def end_later() -> None:
        looks.append(None)
        if len(looks) == 2:
            aws.image_builder.states[build] = "CANCELLED"

    monkeypatch.setattr(module, "Waiter", lambda _, poll: waiter(screen, end_later, poll=poll))
    remove(screen)
    assert aws.image_builder.cancelled == [build]
    assert everything(aws) == []


def test_a_build_instance_that_was_left_behind_is_terminated(aws: MotoAws, screen: Screen) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": OWNER_TAG, "Value": STACK}]}]
    aws.client("ec2").run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=tags)
    remove(screen)
    assert images.find_instances(aws) == []


def test_what_cannot_be_removed_is_named(aws: MotoAws, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "delete_build", lambda *_: None)
    with pytest.raises(DeploymentError, match=r"there is still: Image Builder image secure-proxy/1\.0\.1/1") as failed:
        remove(screen)
    assert failed.value.exit_code == 1
    assert "bash destroy.sh" in str(failed.value)


def test_what_is_still_listed_for_a_while_after_its_deletion_is_waited_for(
    aws: MotoAws, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 4  # the fourth is the second one after the deletion
    find, listed = images.find_snapshots, iter([["snap-0123456789abcdef0"]] * looks)
    monkeypatch.setattr("deployment.inventory.find_snapshots", lambda found: [*find(found), *next(listed, [])])
    assert "nothing is left" in remove(screen)
    assert screen.now == 2 * OPTIONS.poll


class StubbornStack:
    """Its deletion takes a minute and fails twice; what CloudFormation shows lags half a minute behind."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.deletions: list[float] = []

    def delete_stack(self, **_: str) -> None:
        assert self.status() in ("CREATE_COMPLETE", "DELETE_FAILED")
        self.deletions.append(self._screen.now)

    def status(self) -> str:
        shown = [at for at in self.deletions if self._screen.now >= at + 30]
        if not shown:
            return "CREATE_COMPLETE"
        if self._screen.now < shown[-1] + 60:
            return "DELETE_IN_PROGRESS"
        return "DELETE_FAILED" if len(shown) < 3 else "DELETE_COMPLETE"

    def find(self, *_: object) -> Stack | None:
        return None if self.status() == "DELETE_COMPLETE" else Stack(STACK_ID, self.status(), "", {}, {})


def test_a_deletion_is_tried_again_only_when_the_attempt_before_it_is_over(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = StubbornStack(screen)
    monkeypatch.setattr(module, "find_stack", stack.find)
    monkeypatch.setattr(module, "resources_of", lambda *_: [])
    monkeypatch.setattr(images, "find_builds", lambda *_: [])
    aws: Any = SimpleNamespace(client=lambda _: stack)
    module._delete_stack(Stack(STACK_ID, "CREATE_COMPLETE", "", {}, {}), aws, waiter(screen))
    assert len(stack.deletions) == 3
    assert all(later - earlier >= 60 for earlier, later in pairwise(stack.deletions))
    assert f"stack {STACK}: deleted" in screen.lines


def test_a_session_that_expires_half_way_says_how_to_go_on(
    aws: MotoAws, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: object) -> None:
        raise ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "DeregisterImage")

    monkeypatch.setattr(images, "delete_ami", expired)
    with pytest.raises(DeploymentError, match=r"aws sso login(.|\n)*take up where this ended with: bash destroy\.sh"):
        remove(screen)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["", "n", "no", "x"])
def test_nothing_is_deleted_without_a_yes(
    aws: MotoAws, screen: Screen, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda _: answer)
    before = everything(aws)
    with pytest.raises(NotStartedError, match="nothing was deleted"):
        remove(screen, replace(OPTIONS, confirm=True))
    assert everything(aws) == before


def test_without_a_terminal_there_is_nobody_to_confirm(
    aws: MotoAws, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    before = everything(aws)
    with pytest.raises(NotStartedError, match="pass --yes"):
        remove(screen, replace(OPTIONS, confirm=True))
    assert everything(aws) == before


def test_a_stack_that_is_being_updated_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    updating = Stack(STACK_ID, "UPDATE_IN_PROGRESS", "", {}, {})
    caller = {"Account": IDENTITY.account, "Arn": IDENTITY.arn, "UserId": "AIDAEXAMPLE"}
    aws = StubbedAws([Call("sts", "get_caller_identity", {}, caller)])
    monkeypatch.setattr(module, "connect", lambda _: aws)
    monkeypatch.setattr(module, "take_inventory", lambda *_: Inventory(updating, [], [], [], [], [], []))
    with pytest.raises(NotStartedError, match="cancel-update-stack"):
        destroy(OPTIONS, {}, Screen())
