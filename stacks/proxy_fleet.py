"""The proxies behind the public load balancer."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.access_logs import AccessLogs
from stacks.base_image import BaseImage
from stacks.component_parameters import proxy_instance_environment, render_environment
from stacks.encryption import Encryption
from stacks.load_balancer import LoadBalancer, Route
from stacks.machine_group import MachineGroup
from stacks.machine_roles import MachineAccess
from stacks.network import Network
from stacks.notifications import Notifications
from stacks.settings import HEALTH_PORT, ProjectSettings

# A proxy that is to go is told to stop only after this long: an NLB may send new connections to a target for more than
# a minute after it was deregistered. What the proxy then does with its sessions is `proxySettings.limits.drainTimeout`.
_DRAIN = cdk.Duration.seconds(120)


class ProxyFleet(Construct):
    """Instances in the public subnets; only the public load balancer can open a connection to them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ProjectSettings,
        network: Network,
        backend_host: str,
        image_parameter: str,
        base_image: BaseImage,
        access: MachineAccess,
        log_group: logs.ILogGroup,
        access_logs: AccessLogs,
        encryption: Encryption,
        notifications: Notifications,
    ) -> None:
        super().__init__(scope, construct_id)
        proxy = settings.proxy_settings
        self.load_balancer = LoadBalancer(
            self,
            "LoadBalancer",
            name_prefix=settings.elb.name_prefix,
            internet_facing=True,
            vpc=network.vpc,
            subnets=network.public_subnets,
            security_group=network.public_balancer_group,
            routes=[
                Route("Wss", proxy.wss_proxy_bind_port, health_path="/readyz", health_port=HEALTH_PORT),
                Route("OAuth", proxy.o_auth_proxy_bind_port, health_path="/readyz", health_port=HEALTH_PORT),
            ],
            drain=_DRAIN,
            access_logs=access_logs,
        )
        role = access.role(self, "Role", "Proxies of Secure Proxy")
        log_group.grant_write(role)
        environment = proxy_instance_environment(
            settings, backend_host=backend_host, certificate_names=[self.load_balancer.dns_name]
        )
        self.machines = MachineGroup(
            self,
            "Machines",
            vpc=network.vpc,
            subnets=network.public_subnets,
            security_group=network.proxy_group,
            role=role,
            image_parameter=image_parameter,
            base_image=base_image,
            instance_type=settings.proxy_fleet.instance_type,
            volume_gib=settings.imagebuilder.ebs_volume_size,
            environment=render_environment(environment),
            # `/readyz` asks what stands behind the proxies: a new proxy would answer no better, and the sessions of the
            # old one would be lost. systemd restarts NGINX; EC2's status checks find instances that are broken.
            health_check_type="EC2",
            target_groups=list(self.load_balancer.target_groups.values()),
            encryption=encryption,
            notifications=notifications,
        )
