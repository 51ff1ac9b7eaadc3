"""The demonstration's backend behind the internal load balancer: TCP echo and mock OAuth server. For tests only."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from stacks.access_logs import AccessLogs
from stacks.base_image import BaseImage
from stacks.component_parameters import mock_instance_environment, render_environment
from stacks.encryption import Encryption
from stacks.load_balancer import LoadBalancer, Route
from stacks.machine_group import MachineGroup
from stacks.machine_roles import MachineAccess
from stacks.network import Network, backend_ports
from stacks.notifications import Notifications
from stacks.settings import ProjectSettings

CAPACITY = 1
MAX_CAPACITY = 2
# As long as an NLB may still send new connections to a target that was deregistered.
_DRAIN = cdk.Duration.seconds(90)
# What each server answers when it can do its work; the echo server speaks no HTTP, so connecting is the question.
_HEALTH_PATHS = {"OAuth": "/awsexample/.well-known/openid-configuration", "Authorizer": "/healthz"}


class MockServers(Construct):
    """Instances in the private subnets, reached through the internal load balancer alone."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ProjectSettings,
        network: Network,
        image_parameter: str,
        base_image: BaseImage,
        access: MachineAccess,
        access_logs: AccessLogs,
        encryption: Encryption,
        notifications: Notifications,
    ) -> None:
        super().__init__(scope, construct_id)
        self.load_balancer = LoadBalancer(
            self,
            "LoadBalancer",
            name_prefix=settings.elb.name_prefix,
            internet_facing=False,
            vpc=network.vpc,
            subnets=network.private_subnets,
            security_group=network.internal_balancer_group,
            routes=[
                Route(name, port, health_path=_HEALTH_PATHS.get(name)) for name, port in backend_ports(settings).items()
            ],
            drain=_DRAIN,
            access_logs=access_logs,
        )
        environment = mock_instance_environment(backend_host=self.load_balancer.dns_name)
        self.machines = MachineGroup(
            self,
            "Machines",
            vpc=network.vpc,
            subnets=network.private_subnets,
            security_group=network.mock_group,
            role=access.role(self, "Role", "Mock servers of Secure Proxy"),
            image_parameter=image_parameter,
            base_image=base_image,
            instance_type=settings.imagebuilder.instance_types[0],
            volume_gib=settings.imagebuilder.ebs_volume_size,
            environment=render_environment(environment),
            health_check_type="ELB",  # which ask for nothing but the instance itself
            target_groups=list(self.load_balancer.target_groups.values()),
            encryption=encryption,
            notifications=notifications,
        )
