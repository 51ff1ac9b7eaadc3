"""A Network Load Balancer that passes TCP through to the instances of an Auto Scaling group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from constructs import Construct

from stacks.access_logs import AccessLogs

_CHECK_EVERY = cdk.Duration.seconds(10)
_CHECK_TIMEOUT = cdk.Duration.seconds(6)
_CHECKS_UNTIL_SURE = 2


@dataclass(frozen=True)
class Route:
    """A port that is passed through. Health is asked at `health_path` over HTTP, or by connecting if there is none."""

    name: str
    port: int
    health_path: str | None = None
    health_port: int | None = None  # the same port, unless given


class LoadBalancer(Construct):
    """The balancer with a listener and a target group for each route; `target_groups` by the route's name."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name_prefix: str,
        internet_facing: bool,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
        routes: Sequence[Route],
        drain: cdk.Duration,
        access_logs: AccessLogs,
    ) -> None:
        super().__init__(scope, construct_id)
        reach = "public" if internet_facing else "internal"
        self.balancer = elbv2.NetworkLoadBalancer(
            self,
            "Balancer",
            load_balancer_name=f"{name_prefix}-{reach}",
            internet_facing=internet_facing,
            vpc=vpc,
            vpc_subnets=subnets,
            security_groups=[security_group],
            cross_zone_enabled=True,
        )
        for attribute, value in access_logs.balancer_attributes(reach).items():
            self.balancer.set_attribute(attribute, value)
        self.balancer.node.add_dependency(access_logs.permission)
        self.target_groups: dict[str, elbv2.NetworkTargetGroup] = {}
        for route in routes:
            # With its port in the name, a group whose port changes can be made before the old one is deleted.
            group = elbv2.NetworkTargetGroup(
                self,
                route.name,
                target_group_name=f"{name_prefix}-{route.port}",
                vpc=vpc,
                port=route.port,
                protocol=elbv2.Protocol.TCP,
                target_type=elbv2.TargetType.INSTANCE,
                deregistration_delay=drain,
                health_check=_health_check(route),
                # Clients of the internal balancer are few and open many connections, each by all of its addresses:
                # with their addresses preserved, two could meet at a target with the same ports, and one fails.
                # https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html
                preserve_client_ip=internet_facing,
            )
            # A proxy whose backend is away is not ready for new sessions; those that it has are not to be cut.
            group.set_attribute("target_health_state.unhealthy.connection_termination.enabled", "false")
            self.balancer.add_listener(
                f"{route.name}Listener",
                port=route.port,
                protocol=elbv2.Protocol.TCP,
                default_target_groups=[group],
            )
            self.target_groups[route.name] = group

    @property
    def dns_name(self) -> str:
        """The name under which clients reach the balancer."""
        return self.balancer.load_balancer_dns_name


def _health_check(route: Route) -> elbv2.HealthCheck:
    protocol = elbv2.Protocol.TCP if route.health_path is None else elbv2.Protocol.HTTP
    return elbv2.HealthCheck(
        protocol=protocol,
        path=route.health_path,
        port=None if route.health_port is None else str(route.health_port),
        healthy_http_codes=None if route.health_path is None else "200",
        interval=_CHECK_EVERY,
        timeout=_CHECK_TIMEOUT,
        healthy_threshold_count=_CHECKS_UNTIL_SURE,
        unhealthy_threshold_count=_CHECKS_UNTIL_SURE,
    )
