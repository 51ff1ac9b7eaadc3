"""Load balancers and names before machines, and instances of an Auto Scaling group behind them."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from urllib.request import urlopen

import boto3
import pytest
from moto import mock_aws

from local.deployment import Deployment
from local.endpoint.fleet import install
from local.endpoint.machines import DeploymentWorld
from local.images import Image
from local.machine import Machine
from local.name_server import NameServer
from local.processes import wait_until
from local.record import INTERNAL
from tests.local.workshop import metadata, output
from tests.machines import move_internal_balancer

pytestmark = pytest.mark.machine


def test_machines_reach_each_other_and_the_balancer(machine: Machine, deployment: Deployment) -> None:
    assert wait_until(lambda: all(entry.healthy for entry in deployment.health()["internal"][:1]), 10)
    host = "mock-servers.secure-proxy.internal"
    assert output(machine, f"curl -s -o /dev/null -w '%{{http_code}}' http://{host}:9000/") == "200"


def test_the_balancer_moves_with_its_name(machine: Machine, deployment: Deployment) -> None:
    host = "mock-servers.secure-proxy.internal"
    former = deployment.record.balancers[INTERNAL].address
    moved = move_internal_balancer(deployment)
    try:
        assert moved != former
        assert wait_until(lambda: output(machine, f"getent ahostsv4 {host}").startswith(str(moved)), 5)
        assert output(machine, f"curl -s -o /dev/null -w '%{{http_code}}' http://{host}:9000/") == "200"
        assert machine.run(["curl", "-s", "-m", "2", f"http://{former}:9000/"]).returncode != 0
    finally:
        move_internal_balancer(deployment, former)


def test_names_of_the_world_are_not_answered(machine: Machine) -> None:
    assert machine.run(["getent", "ahostsv4", "deb.debian.org"]).returncode != 0


def test_a_name_that_is_not_ours_to_give_away_has_a_short_life(deployment: Deployment) -> None:
    dns: NameServer = deployment.dns
    dns.set("other.secure-proxy.internal", IPv4Address("10.0.0.1"))
    assert dns.names()["other.secure-proxy.internal"] == IPv4Address("10.0.0.1")


class Group:
    """An Auto Scaling group of instances of `image` behind the internal load balancer, in moto on real machines."""

    def __init__(self, image: Image) -> None:
        session = boto3.Session("testing", "testing", region_name="eu-central-1")
        self.ec2, self.elbv2 = session.client("ec2"), session.client("elbv2")
        self.autoscaling = session.client("autoscaling")
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        data = {"ImageId": image.image_id, "UserData": base64.b64encode(b"GREETING=instance\n").decode()}
        template = self.ec2.create_launch_template(LaunchTemplateName="template", LaunchTemplateData=data)  # type: ignore[arg-type]
        balancer = self.elbv2.create_load_balancer(Name="b", Subnets=[subnet], Scheme="internal", Type="network")
        made = self.elbv2.create_target_group(Name="t", Protocol="TCP", Port=9000, VpcId=vpc)
        self.targets = made["TargetGroups"][0]["TargetGroupArn"]
        self.elbv2.modify_target_group_attributes(
            TargetGroupArn=self.targets, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        )
        self.elbv2.create_listener(
            LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
            Protocol="TCP",
            Port=9000,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.targets}],
        )
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="g",
            MinSize=0,
            MaxSize=2,
            VPCZoneIdentifier=subnet,
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"]},
            TargetGroupARNs=[self.targets],
        )

    def resize(self, capacity: int) -> None:
        self.autoscaling.update_auto_scaling_group(AutoScalingGroupName="g", DesiredCapacity=capacity)

    def instances(self) -> list[str]:
        group = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["g"])["AutoScalingGroups"][0]
        return [entry["InstanceId"] for entry in group["Instances"]]

    def health(self) -> dict[str, str]:
        found = self.elbv2.describe_target_health(TargetGroupArn=self.targets)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"]: entry["TargetHealth"]["State"] for entry in found}

    def refreshed(self) -> bool:
        found = self.autoscaling.describe_instance_refreshes(AutoScalingGroupName="g")["InstanceRefreshes"]
        return found[0]["Status"] == "Successful"


def test_instances_of_an_auto_scaling_group_are_machines(deployment: Deployment, image: Image) -> None:
    former = deployment.record.balancers[INTERNAL].listeners
    before = set(deployment.machines)
    with mock_aws():
        uninstall = install(DeploymentWorld(deployment))
        try:
            group = Group(image)
            group.resize(1)
            assert wait_until(lambda: list(group.health().values()) == ["healthy"], 90, 0.2), group.health()
            [old] = group.instances()
            machine = deployment.of_instance(old)
            assert machine is not None
            [instance] = group.ec2.describe_instances(InstanceIds=[old])["Reservations"][0]["Instances"]
            assert instance["PrivateIpAddress"] == str(machine.address)
            assert metadata(machine, "meta-data/instance-id") == old
            assert metadata(machine, "meta-data/ami-id") == image.image_id
            assert metadata(machine, "user-data") == "GREETING=instance"
            with asked_on_and_on(f"http://{deployment.record.balancers[INTERNAL].address}:9000/") as answers:
                group.autoscaling.start_instance_refresh(AutoScalingGroupName="g")
                assert wait_until(group.refreshed, 90, 0.2)
            assert set(answers) == {200}, "a request was lost while instances were replaced"
            [new] = group.instances()
            assert new != old
            assert group.health() == {new: "healthy"}
            assert deployment.of_instance(old) is None
            assert not machine.directory.exists()
            group.resize(0)
            assert wait_until(lambda: group.instances() == [], 60, 0.2)
            assert set(deployment.machines) == before
        finally:
            uninstall()
            deployment.set_listeners(INTERNAL, former)


@contextmanager
def asked_on_and_on(url: str) -> Iterator[list[int | str]]:
    """What a client gets that asks again and again for the length of the block: statuses, or what went wrong."""
    answers: list[int | str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                with urlopen(url, timeout=10) as response:  # noqa: S310  (http)
                    answers.append(response.status)
            except OSError as error:
                answers.append(str(error))

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield answers
    finally:
        done.set()
        client.join()
