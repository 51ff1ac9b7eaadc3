"""moto in this process, acting on a world without machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends
from moto.ssm.models import ssm_backends

from lambdas.common import rollouts
from local.endpoint.fleet import install
from local.processes import wait_until
from tests.unit.local.endpoint.fake_world import IMAGE, FakeWorld

REGION = "eu-central-1"
SERVICES = ("ec2", "elbv2", "autoscaling", "ssm")
PARAMETER = "/secure-proxy/images/secure-proxy"


class Account:
    """A load balancer with two target groups, a launch template, and an empty group behind the balancer."""

    def __init__(self, world: FakeWorld, clients: dict[str, Any]) -> None:
        self.world = world
        self.ec2, self.elbv2, self.autoscaling, self.ssm = (clients[name] for name in SERVICES)
        self.publish(IMAGE)
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
                "SubnetId"
            ]
            for n, zone in enumerate("ab")
        ]
        self.template = self.ec2.create_launch_template(
            LaunchTemplateName="proxies",
            LaunchTemplateData={
                "ImageId": f"resolve:ssm:{PARAMETER}",
                "InstanceType": "t3.small",
                "UserData": "R1JFRVRJTkc9aGVsbG8K",
            },
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.balancer = self.create_balancer("internet-facing")
        self.target_groups = [self.create_target_group(vpc, port) for port in (10000, 11080)]
        self.listeners = [self.listen(port, arn) for port, arn in zip((10000, 11080), self.target_groups, strict=True)]
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="proxies",
            MinSize=0,
            MaxSize=4,
            VPCZoneIdentifier=",".join(self.subnets),
            LaunchTemplate={"LaunchTemplateId": self.template, "Version": "1"},
            TargetGroupARNs=self.target_groups,
            HealthCheckType="ELB",
        )

    def publish(self, image_id: str) -> None:
        self.ssm.put_parameter(Name=PARAMETER, Value=image_id, Type="String", Overwrite=True)

    def create_balancer(self, scheme: str) -> dict[str, Any]:
        made: dict[str, Any] = self.elbv2.create_load_balancer(
            Name=f"elb-{scheme}", Subnets=self.subnets, Scheme=scheme, Type="network"
        )["LoadBalancers"][0]
        return made

    def create_target_group(self, vpc: str, port: int) -> str:
        arn: str = self.elbv2.create_target_group(
            Name=f"proxies-{port}",
            Protocol="TCP",
            Port=port,
            VpcId=vpc,
            TargetType="instance",
            HealthCheckProtocol="HTTP",
            HealthCheckPort="8080",
            HealthCheckPath="/readyz",
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elbv2.modify_target_group_attributes(
            TargetGroupArn=arn, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        )
        return arn

    def listen(self, port: int, target_group: str) -> str:
        arn: str = self.elbv2.create_listener(
            LoadBalancerArn=self.balancer["LoadBalancerArn"],
            Protocol="TCP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group}],
        )["Listeners"][0]["ListenerArn"]
        return arn

    def resize(self, **sizes: int) -> None:
        self.autoscaling.update_auto_scaling_group(AutoScalingGroupName="proxies", **sizes)

    def group(self) -> dict[str, Any]:
        found: dict[str, Any] = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["proxies"])[
            "AutoScalingGroups"
        ][0]
        return found

    def in_service(self) -> list[str]:
        return [entry["InstanceId"] for entry in self.group()["Instances"] if entry["LifecycleState"] == "InService"]

    def fill(self, count: int) -> list[str]:
        """Bring the group to `count` instances in service, healthy in both target groups."""
        self.resize(DesiredCapacity=count)
        soon(lambda: len(self.in_service()) == count and self.states() == ["healthy"] * count)
        return self.in_service()

    def health(self, index: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.elbv2.describe_target_health(TargetGroupArn=self.target_groups[index])[
            "TargetHealthDescriptions"
        ]
        return found

    def states(self) -> list[str]:
        return [entry["TargetHealth"]["State"] for entry in self.health()]

    def activities(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.autoscaling.describe_scaling_activities(AutoScalingGroupName="proxies")[
            "Activities"
        ]
        return found

    def instance(self, instance_id: str) -> dict[str, Any]:
        [reservation] = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        found: dict[str, Any] = reservation["Instances"][0]
        return found

    def state(self, instance_id: str) -> str:
        return str(self.instance(instance_id)["State"]["Name"])

    def refresh(self) -> dict[str, Any]:
        found: dict[str, Any] = self.autoscaling.describe_instance_refreshes(
            AutoScalingGroupName="proxies", MaxRecords=1
        )["InstanceRefreshes"][0]
        return found

    def start_refresh(self) -> None:
        rollouts.start_refresh(self.autoscaling, "proxies")


def soon(condition: Any) -> None:
    assert wait_until(condition, 20, 0.05)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with mock_aws():
        session = boto3.Session("testing", "testing", region_name=REGION)
        yield {name: session.client(name) for name in SERVICES}  # type: ignore[call-overload]


@pytest.fixture
def account(world: FakeWorld, clients: dict[str, Any]) -> Iterator[Account]:
    uninstall = install(world)
    try:
        yield Account(world, clients)
    finally:
        world.gate.set()
        uninstall()
        for backends in (ec2_backends, elbv2_backends, autoscaling_backends, ssm_backends):
            backends.reset()
