"""The stack: which parts there are and how they are joined."""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from constructs import Construct

from stacks.access_logs import AccessLogs
from stacks.attention import Attention
from stacks.base_image import base_image
from stacks.build_instances import BuildInstances
from stacks.component_parameters import mock_parameters, proxy_parameters
from stacks.contact_points import Fact, filled, make_known
from stacks.deployment_workflow import DeploymentWorkflow
from stacks.encryption import Encryption
from stacks.functions import Functions
from stacks.image_parameters import ImageParameters
from stacks.image_pipeline import ImagePipeline
from stacks.log_groups import log_group
from stacks.machine_roles import MachineAccess
from stacks.mock_servers import CAPACITY, MAX_CAPACITY, MockServers
from stacks.names import (
    MOCK_SERVERS_IMAGE,
    PROXY_GROUP_OUTPUT,
    PROXY_LOG_GROUP_OUTPUT,
    SECURE_PROXY_IMAGE,
    ParameterNames,
)
from stacks.network import Network
from stacks.notifications import Notifications
from stacks.observability import Observability
from stacks.options import DeploymentOptions
from stacks.proxy_fleet import ProxyFleet
from stacks.settings import ProjectSettings
from stacks.stack_parameters import StackParameters
from stacks.workflow_functions import Tier

_COMPONENTS = Path(__file__).resolve().parent.parent / "components"


class SecureProxyStack(cdk.Stack):
    """Everything that Secure Proxy is made of in an AWS account."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: ProjectSettings, options: DeploymentOptions
    ) -> None:
        super().__init__(scope, construct_id, description="Secure Proxy: a TCP application behind wss:// and OIDC")
        names, base = ParameterNames(settings.ssm.project_prefix), base_image(settings)
        inputs = StackParameters(self, "Inputs", external_ip=settings.external_ip)

        encryption = Encryption(self, "Encryption")
        notifications = Notifications(
            self, "Notifications", key=encryption.key, email=settings.imagebuilder.notification_email
        )
        attention = Attention(self, "Attention", encryption=encryption)
        network = Network(self, "Network", settings=settings, key=encryption.key, admitted_cidr=inputs.admitted_cidr)
        encryption.make_after(network.nat_gateways)
        access_logs = AccessLogs(self, "AccessLogs")
        proxy_logs = log_group(
            self, "ProxyLogs", key=encryption.key, name=settings.proxy_settings.proxy_cloudwatch_log_group
        )

        builders = BuildInstances(self, "BuildInstances", settings=settings, network=network)
        proxy_pipeline = ImagePipeline(
            self,
            "SecureProxyImage",
            name=SECURE_PROXY_IMAGE,
            description="NGINX in a jail: WebSocket to TCP, with OpenID Connect",
            directory=_COMPONENTS / "secure_proxy",
            parameters=lambda asset_url: proxy_parameters(
                settings,
                nginx_build=options.nginx_build,
                source_base_url=options.source_base_url,
                asset_url=asset_url,
            ),
            settings=settings,
            base_image=base,
            builders=builders,
            encryption=encryption,
            scanning=inputs.image_scanning,
        )
        mock_pipeline = ImagePipeline(
            self,
            "MockServersImage",
            name=MOCK_SERVERS_IMAGE,
            description="TCP echo and mock OAuth server, for tests only",
            directory=_COMPONENTS / "mock_servers",
            parameters=lambda asset_url: mock_parameters(settings, runtime=options.mock_runtime, asset_url=asset_url),
            settings=settings,
            base_image=base,
            builders=builders,
            encryption=encryption,
            scanning=inputs.image_scanning,
        )

        functions = Functions(
            self,
            "Functions",
            network=network,
            encryption=encryption,
            dead_letters=attention.queue,
            reserved_concurrency=inputs.reserved_concurrency,
        )
        image_parameters = ImageParameters(
            self,
            "ImageParameters",
            names=[names.image(SECURE_PROXY_IMAGE), names.image(MOCK_SERVERS_IMAGE)],
            base_image=base,
            functions=functions,
            network=network,
        )

        access = MachineAccess(self, "MachineAccess")
        mock_servers = MockServers(
            self,
            "MockServers",
            settings=settings,
            network=network,
            image_parameter=names.image(MOCK_SERVERS_IMAGE),
            base_image=base,
            access=access,
            access_logs=access_logs,
            encryption=encryption,
            notifications=notifications,
        )
        proxies = ProxyFleet(
            self,
            "ProxyFleet",
            settings=settings,
            network=network,
            backend_host=mock_servers.load_balancer.dns_name,
            image_parameter=names.image(SECURE_PROXY_IMAGE),
            base_image=base,
            access=access,
            log_group=proxy_logs,
            access_logs=access_logs,
            encryption=encryption,
            notifications=notifications,
        )
        for machines in (mock_servers.machines, proxies.machines):
            machines.template.node.add_dependency(image_parameters)

        workflow = DeploymentWorkflow(
            self,
            "DeploymentWorkflow",
            tiers=[
                Tier(
                    "MockServers",
                    "mockServers",
                    mock_pipeline,
                    names.image(MOCK_SERVERS_IMAGE),
                    mock_servers.machines,
                    mock_servers.load_balancer,
                    CAPACITY,
                    MAX_CAPACITY,
                ),
                Tier(
                    "SecureProxy",
                    "secureProxy",
                    proxy_pipeline,
                    names.image(SECURE_PROXY_IMAGE),
                    proxies.machines,
                    proxies.load_balancer,
                    settings.proxy_fleet.min_capacity,
                    settings.proxy_fleet.max_capacity,
                ),
            ],
            functions=functions,
            image_parameters=image_parameters,
            failures=notifications.failures,
            encryption=encryption,
        )
        observability = Observability(
            self,
            "Observability",
            settings=settings,
            log_group=proxy_logs,
            proxies=proxies.machines,
            balancers={"Public": proxies.load_balancer, "Internal": mock_servers.load_balancer},
            state_machine=workflow.state_machine,
            attention=attention.queue,
            failures=notifications.failures,
        )

        backend = mock_servers.load_balancer.dns_name
        host = proxies.load_balancer.dns_name
        wss_port, oauth_port = (
            settings.proxy_settings.wss_proxy_bind_port,
            settings.proxy_settings.o_auth_proxy_bind_port,
        )
        issuer = filled(
            settings.proxy_settings.authentication.issuer,
            {"BACKEND_HOST": backend, "OAUTH_BACKEND_PORT": str(settings.o_auth_backend_port)},
        )
        make_known(
            self,
            Fact("ProxyHost", "DNS name of the public load balancer", host, names.proxy_host),
            Fact("ProxyWssPort", "Port for wss://", str(wss_port), names.proxy_wss_port),
            Fact("ProxyOAuthPort", "Port of the OAuth listener", str(oauth_port), names.proxy_oauth_port),
            Fact("ProxyIssuer", "Issuer whose tokens the proxy accepts", issuer, names.proxy_issuer),
            Fact("ProxyUrl", "Where clients open sessions", f"wss://{host}:{wss_port}/"),
            Fact("BackendHost", "DNS name of the internal load balancer", backend, names.backend_host),
            Fact(
                "StateMachineArn",
                "ARN of the deployment workflow",
                workflow.state_machine.state_machine_arn,
                names.state_machine,
            ),
            Fact(PROXY_GROUP_OUTPUT, "Auto Scaling group of the proxies", proxies.machines.name),
            Fact(
                "ApplicationGroupId",
                "Security group for machines of your own that serve as the application",
                network.application_group.security_group_id,
            ),
            Fact("MockServersGroupName", "Auto Scaling group of the mock servers", mock_servers.machines.name),
            Fact("SecureProxyPipelineArn", "ARN of the proxies' image pipeline", proxy_pipeline.arn),
            Fact("MockServersPipelineArn", "ARN of the mock servers' image pipeline", mock_pipeline.arn),
            Fact("AccessLogBucketName", "Bucket of the load balancers' access logs", access_logs.bucket.bucket_name),
            Fact("FailuresTopicArn", "ARN of the topic that failures go to", notifications.failures.topic_arn),
            Fact("ScalingEventsTopicArn", "ARN of the topic of scaling events", notifications.scaling_events.topic_arn),
            Fact("AttentionQueueUrl", "Queue of what failed while nobody waited", attention.queue.queue_url),
            Fact(PROXY_LOG_GROUP_OUTPUT, "Log group of the proxies", proxy_logs.log_group_name),
            Fact("DashboardName", "CloudWatch dashboard to open first", observability.dashboard.dashboard_name),
        )
