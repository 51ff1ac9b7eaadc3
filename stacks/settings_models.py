"""The models of `projectSettings`, one class per object of the JSON file.

Attribute names are the snake_case of the JSON keys. Each field states its kind, default, purpose and the moment at
which a changed value takes effect; errors and `docs/configuration.md` are made from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from stacks import settings_network as network
from stacks import settings_words as words
from stacks.settings_cron import CRON
from stacks.settings_group import Effect, Group, setting
from stacks.settings_policy import Application, Authentication, Limits, OAuthServer
from stacks.settings_types import BOOLEAN, PORT, ListKind, choice, duration, integer

BaseImage = Literal["amazon-linux-2023", "ubuntu-24.04"]
Bridge = Literal["lua", "websockify"]


class Subnets(Group):
    """The subnets: one public and one private in each availability zone."""

    mask: Annotated[int, integer(16, 28)] = setting(
        22, Effect.STACK, "Prefix length of every subnet. The VPC must have room for two subnets per availability zone."
    )


class Vpc(Group):
    """The virtual private cloud that holds everything."""

    cidr: Annotated[str, network.VPC_CIDR] = setting("192.168.0.0/16", Effect.STACK, "Address block of the VPC.")
    subnets: Subnets = Subnets()
    max_azs: Annotated[int, integer(2, 6)] = setting(2, Effect.STACK, "Availability zones to spread over, at most.")
    nat_gateways: Annotated[int, integer(1, 6)] = setting(
        1,
        Effect.STACK,
        "NAT gateways through which private subnets reach the internet, which image builds need; at most one per "
        "availability zone. One is cheapest, one per zone survives the loss of a zone.",
    )


class Ssm(Group):
    """Systems Manager parameters."""

    project_prefix: Annotated[str, words.SSM_PREFIX] = setting(
        "secure-proxy", Effect.STACK, "First part of every parameter's name: `/secure-proxy/…`."
    )


class Elb(Group):
    """Load balancers."""

    name_prefix: Annotated[str, words.ELB_PREFIX] = setting(
        "secure-proxy-elb", Effect.BOTH, "Beginning of the names of the load balancers and target groups."
    )


class ImageBuilder(Group):
    """The two EC2 Image Builder pipelines."""

    image_builder_email_address: Annotated[str, network.EMAIL] = setting(
        "you@example.com",
        Effect.STACK,
        "Who is told about failed builds and deployments. A placeholder (a domain that RFC 2606 reserves, such as "
        "the default) is accepted and means nobody: the topic is made without a subscription.",
    )
    ebs_volume_size: Annotated[int, integer(8, 16384)] = setting(
        16, Effect.IMAGE, "Root volume of the images in GiB, encrypted, type gp3."
    )
    instance_types: Annotated[tuple[str, ...], ListKind(network.INSTANCE_TYPE, at_least=1)] = setting(
        ("t3.medium",), Effect.IMAGE, "Instance types to build on; Image Builder takes the first that is available."
    )
    extra_tags: Annotated[Mapping[str, str], words.TAGS] = setting(
        {"imagePipeline": "AMIBuilder"}, Effect.IMAGE, "Further tags of images and build instances."
    )
    base_image: Annotated[BaseImage, choice(*get_args(BaseImage))] = setting(
        "amazon-linux-2023", Effect.IMAGE, "Operating system of both images, newest AWS-managed version."
    )
    schedule: Annotated[str, CRON] = setting(
        "cron(0 2 ? * sun *)",
        Effect.STACK,
        "When images are rebuilt with the latest updates: six fields as EC2 Image Builder reads them, in UTC.",
    )

    @property
    def notification_email(self) -> str | None:
        """The address to subscribe, or `None` while the setting holds a placeholder."""
        address = self.image_builder_email_address
        return None if network.is_unread_email(address) else address


class ProxySettings(Group):
    """The proxy's image and its listeners."""

    jail_base_dir: Annotated[str, words.JAIL_PATH] = setting("/nginx", Effect.IMAGE, "Root of the chroot.")
    proxy_base_dir: Annotated[str, words.PROXY_PATH] = setting(
        "/etc/nginx", Effect.IMAGE, "NGINX's configuration directory, inside the jail."
    )
    proxy_worker_processes: Annotated[str, words.WORKER_PROCESSES] = setting(
        "auto", Effect.IMAGE, "NGINX worker processes; `auto` is one a core."
    )
    proxy_worker_connections: Annotated[int, integer(16, 524_288)] = setting(
        16384, Effect.IMAGE, "Connections of one worker; a session takes two: to the client and to the application."
    )
    proxy_cloudwatch_log_group: Annotated[str, words.LOG_GROUP] = setting(
        "SecureProxy", Effect.BOTH, "CloudWatch log group of the proxies' logs; kept for 14 days."
    )
    keepalive_timeout: Annotated[int, integer(1, 3600)] = setting(
        120, Effect.IMAGE, "Seconds that an idle HTTP connection stays open."
    )
    wss_proxy_bind_port: Annotated[int, PORT] = setting(10000, Effect.BOTH, "Public port for `wss://`.")
    o_auth_proxy_bind_port: Annotated[int, PORT] = setting(
        11080, Effect.BOTH, "Public port of the demo's OAuth server: `/token`, `/authorize`, `/configuration`."
    )
    kernel_ports_range_start: Annotated[int, integer(1024, 65535, name="port")] = setting(
        32768,
        Effect.IMAGE,
        "First port of the kernel's ephemeral range, from which connections to the application are made; the ports "
        "that the proxy listens on must be outside.",
        alias="kernel_ports_range_start",
    )
    kernel_ports_range_end: Annotated[int, integer(1024, 65535, name="port")] = setting(
        61000,
        Effect.IMAGE,
        "Last port of that range; its size bounds the sessions of one machine with one application.",
        alias="kernel_ports_range_end",
    )
    proxy_port_scale_factor: Annotated[int, integer(-65534, 65534)] = setting(
        1000,
        Effect.BOTH,
        "Backend port = bind port - factor: 10000 → 9000 for the TCP application, 11080 → 10080 for the OAuth server.",
    )
    websockify_connect_timeout: Annotated[str, duration("1ms", "75s")] = setting(
        "30s", Effect.IMAGE, "How long to try to reach the application. Both bridges obey the three timeouts."
    )
    websockify_read_timeout: Annotated[str, duration("1ms", "24h")] = setting(
        "60s", Effect.IMAGE, "How long the application or a client may be silent."
    )
    websockify_send_timeout: Annotated[str, duration("1ms", "24h")] = setting(
        "60s", Effect.IMAGE, "How long a receiver may refuse to take more bytes."
    )
    bridge: Annotated[Bridge, choice(*get_args(Bridge))] = setting(
        "lua",
        Effect.IMAGE,
        "What joins WebSocket and TCP: this project's streaming bridge, or websockify-nginx-module (only in images "
        "built with `NginxBuild=source`).",
    )
    authentication: Authentication = Authentication()
    limits: Limits = Limits()
    application: Application = Application()
    o_auth_server: OAuthServer = OAuthServer()


class MockServers(Group):
    """The demonstration's backend: for tests only."""

    tcp_server_port: Annotated[int, PORT] = setting(9000, Effect.BOTH, "The TCP echo server.")
    o_auth_server_port: Annotated[int, PORT] = setting(10080, Effect.BOTH, "The mock OAuth server.")
    authorizer_port: Annotated[int, PORT] = setting(10090, Effect.BOTH, "The reference authorizer.")


class ExternalIp(Group):
    """Who may reach the public ports."""

    auto_detect: Annotated[bool, BOOLEAN] = setting(
        True,
        Effect.STACK,
        "The `deploy.sh` that makes the stack finds its machine's public address and admits it alone; later ones keep "
        "what is admitted, unless `--admitted-cidr` says otherwise.",
    )
    i_p_address: Annotated[str, network.SOURCE_CIDR] = setting(
        "0.0.0.0/0", Effect.STACK, "Addresses to admit where nothing is to be detected; every deployment sets them."
    )


class ProxyFleet(Group):
    """The Auto Scaling group of proxies."""

    min_capacity: Annotated[int, integer(1, 100)] = setting(
        2, Effect.ROLLOUT, "Proxies that run, unless somebody has scaled the group out."
    )
    max_capacity: Annotated[int, integer(1, 100)] = setting(
        4,
        Effect.ROLLOUT,
        "To how many proxies the group may be scaled out by hand. Nothing scales it by itself: scaling in would cut "
        "long-lived sessions.",
    )
    instance_type: Annotated[str, network.INSTANCE_TYPE] = setting(
        "t3.medium", Effect.STACK, "Instance type of the proxies, of the same architecture as the build instances."
    )


class ProjectSettings(Group):
    """All of `projectSettings`."""

    vpc: Vpc = Vpc()
    ssm: Ssm = Ssm()
    elb: Elb = Elb()
    imagebuilder: ImageBuilder = ImageBuilder()
    proxy_settings: ProxySettings = ProxySettings()
    mock_servers: MockServers = MockServers()
    external_ip: ExternalIp = ExternalIp()
    proxy_fleet: ProxyFleet = ProxyFleet()

    @property
    def architecture(self) -> str:
        """CPU architecture of both images and all their instances: `x86_64` or `arm64`."""
        return network.architecture_of(self.proxy_fleet.instance_type)

    @property
    def wss_backend_port(self) -> int:
        """Port of the TCP application behind the WSS listener."""
        return self.proxy_settings.wss_proxy_bind_port - self.proxy_settings.proxy_port_scale_factor

    @property
    def o_auth_backend_port(self) -> int:
        """Port of the OAuth server behind the OAuth listener."""
        return self.proxy_settings.o_auth_proxy_bind_port - self.proxy_settings.proxy_port_scale_factor
