"""EC2 instances on machines."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.local.endpoint.conftest import PARAMETER, Account, soon
from tests.unit.local.endpoint.fake_world import IMAGE, NEXT_IMAGE


def run(account: Account, **arguments: Any) -> str:
    made = account.ec2.run_instances(MinCount=1, MaxCount=1, InstanceType="t3.small", **arguments)
    return str(made["Instances"][0]["InstanceId"])


def test_an_instance_is_pending_until_its_machine_has_booted(account: Account) -> None:
    account.world.gate.clear()
    instance_id = run(account, ImageId=IMAGE)
    assert account.state(instance_id) == "pending"
    account.world.gate.set()
    soon(lambda: account.state(instance_id) == "running")
    assert account.instance(instance_id)["PrivateIpAddress"] == "10.213.7.10"


def test_the_machine_gets_image_and_user_data_of_the_template(account: Account) -> None:
    instance_id = run(account, LaunchTemplate={"LaunchTemplateId": account.template, "Version": "1"})
    soon(lambda: account.state(instance_id) == "running")
    assert account.world.machines == {instance_id: (IMAGE, "GREETING=hello\n")}


def test_a_parameter_is_resolved_at_each_launch(account: Account) -> None:
    first = run(account, ImageId=f"resolve:ssm:{PARAMETER}")
    account.publish(NEXT_IMAGE)
    second = run(account, ImageId=f"resolve:ssm:{PARAMETER}")
    assert [account.instance(id_)["ImageId"] for id_ in (first, second)] == [IMAGE, NEXT_IMAGE]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("ami-0000000000000000f", r"InvalidAMIID\.NotFound"),
        ("resolve:ssm:/none", "does not exist"),
    ],
)
def test_what_is_no_image_is_refused(account: Account, image: str, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        run(account, ImageId=image)
    assert account.ec2.describe_instances()["Reservations"] == []


def test_a_launch_that_fails_leaves_a_terminated_instance_with_the_reason(account: Account) -> None:
    account.world.failures.append("no address left")
    instance_id = run(account, ImageId=IMAGE)
    soon(lambda: account.state(instance_id) == "terminated")
    assert "no address left" in account.instance(instance_id)["StateReason"]["Message"]


def test_a_terminated_instance_has_no_machine(account: Account) -> None:
    instance_id = run(account, ImageId=IMAGE)
    soon(lambda: account.state(instance_id) == "running")
    [change] = account.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "shutting-down"
    soon(lambda: account.state(instance_id) == "terminated")
    assert account.world.machines == {}


def test_an_instance_terminated_while_it_is_launched_leaves_no_machine(account: Account) -> None:
    account.world.gate.clear()
    instance_id = run(account, ImageId=IMAGE)
    account.ec2.terminate_instances(InstanceIds=[instance_id])
    account.world.gate.set()
    soon(lambda: account.state(instance_id) == "terminated")
    assert account.world.machines == {}


def test_a_machine_that_stopped_is_told(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.endpoint.instances._MISSING_FOR", 0.2)
    instance_id = run(account, ImageId=IMAGE)
    soon(lambda: account.state(instance_id) == "running")
    account.world.stopped.add(instance_id)
    soon(lambda: account.state(instance_id) == "stopped")


def test_a_machine_that_vanished_is_told(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.endpoint.instances._MISSING_FOR", 0.2)
    instance_id = run(account, ImageId=IMAGE)
    soon(lambda: account.state(instance_id) == "running")
    del account.world.machines[instance_id]
    soon(lambda: account.state(instance_id) == "terminated")


def test_stopping_is_refused(account: Account) -> None:
    instance_id = run(account, ImageId=IMAGE)
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        account.ec2.stop_instances(InstanceIds=[instance_id])
