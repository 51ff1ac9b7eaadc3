"""Auto Scaling groups of machines: sizes, failures, refreshes."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from lambdas.check_health import CheckHealth, check_health
from lambdas.common.models import Before, Fleet, GroupBefore, Health
from lambdas.launch_fleet import LaunchFleet, launch_fleet
from lambdas.roll_back import RollBack, roll_back
from tests.unit.local.endpoint.conftest import PARAMETER, Account, soon
from tests.unit.local.endpoint.fake_world import IMAGE, NEXT_IMAGE


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.endpoint.scaling._INTERVAL", 0.05)
    monkeypatch.setattr("local.endpoint.instances._MISSING_FOR", 0.2)


# Sizes


def test_a_request_does_not_wait_for_machines(account: Account) -> None:
    account.world.gate.clear()
    account.resize(MinSize=2, DesiredCapacity=2)
    soon(lambda: [entry["LifecycleState"] for entry in account.group()["Instances"]] == ["Pending"] * 2)
    assert {activity["StatusCode"] for activity in account.activities()} == {"InProgress"}


def test_instances_are_launched_from_the_template_and_registered(account: Account) -> None:
    first, second = account.fill(2)
    assert account.world.machines == dict.fromkeys((first, second), (IMAGE, "GREETING=hello\n"))
    for index in (0, 1):
        assert {target["Target"]["Id"] for target in account.health(index)} == {first, second}
    assert {account.instance(id_)["SubnetId"] for id_ in (first, second)} == set(account.subnets)
    assert {activity["StatusCode"] for activity in account.activities()} == {"Successful"}


def test_a_raised_minimum_raises_a_smaller_group_and_no_larger_one(account: Account) -> None:
    account.fill(2)
    account.resize(MinSize=1)
    assert account.group()["DesiredCapacity"] == 2
    account.resize(MinSize=3)
    assert account.group()["DesiredCapacity"] == 3


@pytest.mark.parametrize("sizes", [{"DesiredCapacity": 5}, {"MinSize": 2, "DesiredCapacity": 1}, {"MinSize": 5}])
def test_a_size_out_of_bounds_is_refused(account: Account, sizes: dict[str, int]) -> None:
    with pytest.raises(ClientError, match="ValidationError"):
        account.resize(**sizes)
    group = account.group()
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (0, 4, 0)


def test_a_group_that_is_to_be_empty_drains_and_empties(account: Account) -> None:
    [instance_id] = account.fill(1)
    account.resize(MinSize=0, DesiredCapacity=0)
    soon(lambda: account.states() == ["draining"])
    assert instance_id in account.world.machines
    soon(lambda: account.group()["Instances"] == [])
    assert account.world.events == [
        f"launched {instance_id}",
        f"removed {instance_id}",
        f"terminated {instance_id}",
    ]


def test_the_newest_instance_goes_first(account: Account) -> None:
    [oldest] = account.fill(1)
    account.fill(2)
    account.resize(DesiredCapacity=1)
    soon(lambda: len(account.group()["Instances"]) == 1)
    assert account.in_service() == [oldest]


def test_a_group_with_instances_is_not_deleted(account: Account) -> None:
    account.fill(1)
    with pytest.raises(ClientError, match="ResourceInUse"):
        account.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="proxies")
    assert len(account.in_service()) == 1


def test_a_group_whose_deletion_is_forced_takes_its_instances_along(account: Account) -> None:
    account.fill(1)
    account.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="proxies", ForceDelete=True)
    soon(lambda: not account.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"])
    assert account.world.machines == {}


# Failures


def test_a_launch_that_fails_is_an_activity_with_its_reason_and_is_tried_again(account: Account) -> None:
    account.world.failures.append("10.213.7.0/24 has no address left for another machine")
    account.resize(MinSize=1)
    soon(lambda: len(account.in_service()) == 1)
    failed = [activity for activity in account.activities() if activity["StatusCode"] == "Failed"]
    assert len(failed) == 1
    assert "no address left" in failed[0]["StatusMessage"]
    assert failed[0]["Description"].startswith("Launching a new EC2 instance")


def test_a_launch_without_an_image_is_an_activity_with_its_reason(account: Account) -> None:
    account.world.images.clear()
    account.resize(MinSize=1)
    soon(account.activities)
    [failed] = account.activities()
    assert (failed["StatusCode"], IMAGE in failed["StatusMessage"]) == ("Failed", True)
    account.world.images.add(IMAGE)
    soon(lambda: len(account.in_service()) == 1)


def test_the_last_look_at_health_tells_why_a_launch_failed(account: Account) -> None:
    account.world.failures += ["machine secure-proxy-1 did not finish booting"] * 100
    account.resize(MinSize=1)
    soon(lambda: any(activity["StatusCode"] == "Failed" for activity in account.activities()))
    request = CheckHealth(
        {"proxies": Fleet("proxies", tuple(account.target_groups))},
        {},
        Health(False, 0, ""),
        max_checks=1,
        poll_seconds=15,
    )
    with pytest.raises(Exception, match=r"0 healthy targets of 1[\s\S]*did not finish booting"):
        check_health(request, account.autoscaling, account.elbv2)


def test_an_instance_that_died_is_replaced(account: Account) -> None:
    dead, other = account.fill(2)
    account.world.stopped.add(dead)
    soon(lambda: len(account.in_service()) == 2 and dead not in account.in_service())
    assert other in account.in_service()
    soon(lambda: dead not in account.world.machines)


def test_an_instance_that_somebody_terminates_is_replaced(account: Account) -> None:
    [gone] = account.fill(1)
    account.ec2.terminate_instances(InstanceIds=[gone])
    soon(lambda: len(account.in_service()) == 1 and account.in_service() != [gone])


def test_an_instance_terminated_in_the_group_may_shrink_it(account: Account) -> None:
    gone, stays = account.fill(2)
    account.autoscaling.terminate_instance_in_auto_scaling_group(InstanceId=gone, ShouldDecrementDesiredCapacity=True)
    soon(lambda: [entry["InstanceId"] for entry in account.group()["Instances"]] == [stays])
    assert account.group()["DesiredCapacity"] == 1


# Refreshes


def test_a_refresh_replaces_all_instances_by_the_published_image(account: Account) -> None:
    old = account.fill(2)
    account.publish(NEXT_IMAGE)
    account.start_refresh()
    soon(lambda: account.refresh()["Status"] == "Successful")
    new = account.in_service()
    assert len(new) == 2
    assert not set(new) & set(old)
    assert {image for image, _ in account.world.machines.values()} == {NEXT_IMAGE}
    assert account.refresh()["PercentageComplete"] == 100


def test_no_old_instance_goes_before_a_new_one_is_healthy_everywhere(account: Account) -> None:
    [old] = account.fill(1)
    account.world.gate.clear()
    account.start_refresh()
    soon(lambda: len(account.group()["Instances"]) == 2)
    [new] = [entry["InstanceId"] for entry in account.group()["Instances"] if entry["InstanceId"] != old]
    account.world.sick.add(new)
    account.world.gate.set()
    soon(lambda: set(account.in_service()) == {old, new} and len(account.health()) == 2)
    assert account.refresh()["Status"] == "InProgress"
    assert old in account.in_service()
    account.world.sick.clear()
    soon(lambda: account.refresh()["Status"] == "Successful")
    # Out of the balancer first, then shut down.
    assert account.world.events[-2:] == [f"removed {old}", f"terminated {old}"]


def test_a_group_that_does_not_ask_load_balancers_takes_a_new_instance_in_service_for_healthy(account: Account) -> None:
    account.autoscaling.update_auto_scaling_group(AutoScalingGroupName="proxies", HealthCheckType="EC2")
    [old] = account.fill(1)
    account.world.gate.clear()
    account.start_refresh()
    soon(lambda: len(account.group()["Instances"]) == 2)
    account.world.sick.update(entry["InstanceId"] for entry in account.group()["Instances"])
    account.world.gate.set()
    soon(lambda: account.refresh()["Status"] == "Successful")
    assert old not in account.in_service()


def test_a_refresh_never_has_more_than_twice_the_instances(account: Account) -> None:
    account.fill(2)
    account.start_refresh()
    soon(lambda: account.refresh()["Status"] == "Successful")
    assert account.world.most == 4


def test_a_second_refresh_is_refused_while_one_runs(account: Account) -> None:
    account.fill(1)
    account.world.gate.clear()
    account.start_refresh()
    with pytest.raises(ClientError, match="InstanceRefreshInProgress"):
        account.start_refresh()


def test_a_cancelled_refresh_leaves_the_old_instances(account: Account) -> None:
    old = account.fill(2)
    account.world.gate.clear()
    account.start_refresh()
    soon(lambda: len(account.group()["Instances"]) == 4)
    account.autoscaling.cancel_instance_refresh(AutoScalingGroupName="proxies")
    soon(lambda: account.refresh()["Status"] == "Cancelled")
    account.world.gate.set()
    soon(lambda: len(account.group()["Instances"]) == 2)
    assert sorted(account.in_service()) == sorted(old)


def test_without_a_refresh_there_is_none_to_cancel(account: Account) -> None:
    with pytest.raises(ClientError, match="ActiveInstanceRefreshNotFound"):
        account.autoscaling.cancel_instance_refresh(AutoScalingGroupName="proxies")


def test_a_refresh_without_progress_fails_with_the_reason(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.endpoint.scaling_api.REFRESH_PATIENCE", 1)
    account.fill(1)
    account.world.failures += ["it does not boot"] * 100
    account.start_refresh()
    soon(lambda: account.refresh()["Status"] == "Failed")
    assert "it does not boot" in account.refresh()["StatusReason"]
    assert len(account.in_service()) == 1


# The workflow's handlers


def test_the_workflow_fills_replaces_and_returns_a_group(account: Account) -> None:
    fleets = {"proxies": Fleet("proxies", tuple(account.target_groups))}

    def healthy(**launches: object) -> bool:
        request = CheckHealth(fleets, launches, Health(False, 0, ""), max_checks=1000, poll_seconds=15)  # type: ignore[arg-type]
        return check_health(request, account.autoscaling, account.elbv2).healthy

    account.world.gate.clear()
    filled = launch_fleet(LaunchFleet(GroupBefore("proxies", 0, 4, 0), 1, 4, 0), account.autoscaling)
    assert not filled.replacing
    assert not healthy(proxies=filled)
    account.world.gate.set()
    soon(lambda: healthy(proxies=filled))
    [old] = account.in_service()
    account.publish(NEXT_IMAGE)
    # Two were the least, and one is from now on; the same request that would be refused of a maximum alone.
    account.resize(MinSize=2, DesiredCapacity=2)
    soon(lambda: len(account.in_service()) == 2)
    with pytest.raises(ClientError, match="Max bound, 1"):
        account.resize(MaxSize=1)
    began, before = datetime.now(UTC).isoformat(), GroupBefore("proxies", 2, 4, 2)
    replaced = launch_fleet(LaunchFleet(before, 1, 1, 0), account.autoscaling)
    assert replaced.replacing
    soon(lambda: healthy(proxies=replaced))
    [new] = account.in_service()
    assert new != old
    # The deployment fails after all.
    before_all = Before({"p": before}, {PARAMETER: IMAGE})
    failed = datetime.now(UTC).isoformat()
    request = RollBack("", began, failed, (), {"p": "EC2"}, before_all, {PARAMETER: NEXT_IMAGE}, {})
    report = roll_back(request, account.ssm, account.autoscaling, SimpleNamespace())  # type: ignore[arg-type]
    for done in (
        "returned proxies to 2 instances",
        f"restored {PARAMETER}",
        "began to replace the instances of proxies",
    ):
        assert done in report.text
    soon(lambda: account.refresh()["Status"] == "Successful")
    assert new not in account.in_service()
    assert {account.instance(name)["ImageId"] for name in account.in_service()} == {IMAGE}
    assert account.group()["HealthCheckType"] == "EC2"
