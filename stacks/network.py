"""The VPC, and who may speak to whom in it.

    internet ─(admitted addresses)─▶ public NLB ─▶ proxies ─▶ internal NLB ─▶ mock servers, applications

Every arrow is a pair of rules between security groups: a port that no arrow names is closed. Port 22 is none of them;
people reach instances through Session Manager.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct, IDependable

from stacks.log_groups import log_group
from stacks.names import STACK
from stacks.settings import HEALTH_PORT, ProjectSettings
from stacks.settings_network import BACKEND_HOST

_HTTPS = 443
_HTTP = 80
_MAX_ADMITTED_BLOCKS = 5  # each rule that names the list counts as that many


class Network(Construct):
    """Subnets in at least two zones, flow logs, and the security groups of all that runs in the VPC."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: ProjectSettings, key: kms.IKey, admitted_cidr: str
    ) -> None:
        super().__init__(scope, construct_id)
        self.vpc = self._vpc(settings)
        self._record_flows(key)
        self.public_balancer_group = self._group("PublicBalancer", "Public load balancer")
        self.proxy_group = self._group("Proxies", "Proxies")
        self.internal_balancer_group = self._group("InternalBalancer", "Internal load balancer")
        self.mock_group = self._group("MockServers", "Mock servers")
        # Of nothing that the stack makes: machines of its users that serve as the application carry it.
        self.application_group = self._group("Applications", "Machines that serve as the application")
        self.build_group = self._group("ImageBuilds", "Instances that build and test images")
        self.function_group = self._group("Functions", "Functions of the deployment workflow")
        self._open_ports(settings, self._admitted_clients(admitted_cidr))

    @property
    def public_subnets(self) -> ec2.SubnetSelection:
        """Where the public load balancer and the proxies are."""
        return ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC)

    @property
    def private_subnets(self) -> ec2.SubnetSelection:
        """Where everything else is: no address of its own on the internet, ways out through NAT."""
        return ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)

    @property
    def nat_gateways(self) -> list[ec2.CfnNatGateway]:
        """The gateways through which private subnets reach the internet."""
        return [child for child in self.vpc.node.find_all() if isinstance(child, ec2.CfnNatGateway)]

    @property
    def ways_out(self) -> list[IDependable]:
        """What must exist for the private subnets to reach AWS: the routes of all of them, and the endpoint of S3."""
        return [
            self.vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS).internet_connectivity_established,
            self.vpc.node.find_child("S3"),
        ]

    def _vpc(self, settings: ProjectSettings) -> ec2.Vpc:
        return ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(settings.vpc.cidr),
            # By number instead of by name, so that synthesizing asks no account which zones it has.
            availability_zones=[cdk.Fn.select(zone, cdk.Fn.get_azs()) for zone in range(settings.vpc.max_azs)],
            nat_gateways=settings.vpc.nat_gateways,
            subnet_configuration=[
                ec2.SubnetConfiguration(name=name, subnet_type=kind, cidr_mask=settings.vpc.subnets.mask)
                for name, kind in (
                    ("Public", ec2.SubnetType.PUBLIC),
                    ("Private", ec2.SubnetType.PRIVATE_WITH_EGRESS),
                )
            ],
            # Components and packages of Amazon Linux come from S3: they need not pass NAT.
            gateway_endpoints={"S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)},
            # Emptying the default group would take a function of its own; nothing is ever put into that group.
            restrict_default_security_group=False,
        )

    def _record_flows(self, key: kms.IKey) -> None:
        destination = ec2.FlowLogDestination.to_cloud_watch_logs(
            log_group(self, "FlowLogGroup", key=key),
            iam.Role(self, "FlowLogRole", assumed_by=iam.ServicePrincipal("vpc-flow-logs.amazonaws.com")),
        )
        self.vpc.add_flow_log("FlowLog", destination=destination, traffic_type=ec2.FlowLogTrafficType.ALL)

    def _group(self, name: str, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self, name, vpc=self.vpc, description=f"Secure Proxy: {description}", allow_all_outbound=False
        )

    def _admitted_clients(self, cidr: str) -> ec2.IPeer:
        """The addresses that may reach the public ports: a list, to which operators may add further blocks."""
        admitted = ec2.CfnPrefixList(
            self,
            "AdmittedClients",
            prefix_list_name=f"{STACK}-AdmittedClients",
            address_family="IPv4",
            max_entries=_MAX_ADMITTED_BLOCKS,
            entries=[ec2.CfnPrefixList.EntryProperty(cidr=cidr, description="From the settings")],
        )
        return ec2.Peer.prefix_list(admitted.attr_prefix_list_id)

    def _open_ports(self, settings: ProjectSettings, admitted: ec2.IPeer) -> None:
        proxy = settings.proxy_settings
        public_ports = (proxy.wss_proxy_bind_port, proxy.o_auth_proxy_bind_port)
        for port in public_ports:
            self.public_balancer_group.add_ingress_rule(admitted, ec2.Port.tcp(port), "Admitted clients")
        for port in (*public_ports, HEALTH_PORT):
            _join(self.public_balancer_group, self.proxy_group, port)
        for port in backend_ports(settings).values():
            _join(self.proxy_group, self.internal_balancer_group, port)
            _join(self.internal_balancer_group, self.mock_group, port)
        _join(self.internal_balancer_group, self.application_group, settings.wss_backend_port)
        for group in (self.proxy_group, self.mock_group, self.build_group, self.function_group):
            group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(_HTTPS), "AWS, issuers, registries")
        for port in sorted(_ports_elsewhere(settings) - {_HTTPS}):
            self.proxy_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(port), "Issuers, authorizer")
        self.build_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(_HTTP), "Package mirrors of Ubuntu")


def backend_ports(settings: ProjectSettings) -> dict[str, int]:
    """Ports of the internal load balancer by what answers there. The authorizer is there only if proxies ask it."""
    ports = {"Echo": settings.wss_backend_port, "OAuth": settings.o_auth_backend_port}
    if settings.proxy_settings.authentication.provider == "external":
        ports["Authorizer"] = settings.mock_servers.authorizer_port
    return ports


def _ports_elsewhere(settings: ProjectSettings) -> set[int]:
    """The ports of issuers and the authorizer that are not behind the internal load balancer."""
    authentication = settings.proxy_settings.authentication
    urls = [authentication.issuer, *(rules.issuer for rules in authentication.further_issuers)]
    if authentication.provider == "external":
        urls.append(authentication.authorizer_url)
    elsewhere = (urlsplit(url) for url in urls if BACKEND_HOST not in url)
    return {parts.port or (_HTTPS if parts.scheme == "https" else _HTTP) for parts in elsewhere}


def _join(source: ec2.SecurityGroup, target: ec2.SecurityGroup, port: int) -> None:
    text = f"{source.node.id} to {target.node.id}"
    source.add_egress_rule(target, ec2.Port.tcp(port), text)
    target.add_ingress_rule(source, ec2.Port.tcp(port), text)
