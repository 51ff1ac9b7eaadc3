"""Rules that join several settings: ports that must differ or agree, ranges, room for subnets, combinations.

Every rule names the keys that it reads. It runs only when none of them is in error by itself, so that one mistake is
reported once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from stacks import settings_network as network
from stacks.settings_models import ProjectSettings
from stacks.settings_policy_rules import POLICY_RULES
from stacks.settings_rule import Problem, Rule, problem

HEALTH_PORT = 8080  # where every proxy answers load balancers; the same everywhere, so not a setting

WSS_PORT = "proxySettings.wssProxyBindPort"
OAUTH_PORT = "proxySettings.oAuthProxyBindPort"
FACTOR = "proxySettings.proxyPortScaleFactor"
RANGE_START = "proxySettings.kernel_ports_range_start"
RANGE_END = "proxySettings.kernel_ports_range_end"
TCP_SERVER = "mockServers.tcpServerPort"
OAUTH_SERVER = "mockServers.oAuthServerPort"
AUTHORIZER = "mockServers.authorizerPort"
BRIDGE = "proxySettings.bridge"
PROVIDER = "proxySettings.authentication.provider"
AUTHORIZER_URL = "proxySettings.authentication.authorizerUrl"
FRAME_SIZE = "proxySettings.limits.maxFrameSize"
MESSAGE_SIZE = "proxySettings.limits.maxMessageSize"
WORKER_SESSIONS = "proxySettings.limits.sessionsPerWorker"
WORKER_CONNECTIONS = "proxySettings.proxyWorkerConnections"
VPC_CIDR = "vpc.cidr"
MASK = "vpc.subnets.mask"
ZONES = "vpc.maxAzs"
NAT_GATEWAYS = "vpc.natGateways"
MINIMUM = "proxyFleet.minCapacity"
MAXIMUM = "proxyFleet.maxCapacity"
FLEET_TYPE = "proxyFleet.instanceType"
BUILD_TYPES = "imagebuilder.instanceTypes"


def _distinct_ports(settings: ProjectSettings) -> Iterator[Problem]:
    proxy, mock = settings.proxy_settings, settings.mock_servers
    owners = {HEALTH_PORT: "the health listener"}
    for path, port in (
        (WSS_PORT, proxy.wss_proxy_bind_port),
        (OAUTH_PORT, proxy.o_auth_proxy_bind_port),
        (TCP_SERVER, mock.tcp_server_port),
        (OAUTH_SERVER, mock.o_auth_server_port),
        (AUTHORIZER, mock.authorizer_port),
    ):
        if port in owners:
            yield problem(path, f"{port} is the port of {owners[port]} already", "a port that nothing else has")
        else:
            owners[port] = f"projectSettings.{path}"


def _backend_ports(settings: ProjectSettings) -> Iterator[Problem]:
    factor = settings.proxy_settings.proxy_port_scale_factor
    proxy, mocks = settings.proxy_settings, settings.mock_servers
    binds = (proxy.wss_proxy_bind_port, proxy.o_auth_proxy_bind_port)
    lowest, highest = max(binds) - 65535, min(binds) - 1
    if not lowest <= factor <= highest:
        wrong = f"{factor} leads from the bind ports {binds[0]} and {binds[1]} to ports that do not exist"
        yield problem(FACTOR, wrong, f"a whole number from {lowest} to {highest}")
        return
    for bind_path, bind, mock_path, mock in (
        (WSS_PORT, proxy.wss_proxy_bind_port, TCP_SERVER, mocks.tcp_server_port),
        (OAUTH_PORT, proxy.o_auth_proxy_bind_port, OAUTH_SERVER, mocks.o_auth_server_port),
    ):
        if bind - factor != mock:
            yield problem(mock_path, f"{mock} is not {bind_path} {bind} minus {FACTOR} {factor}", str(bind - factor))


def _ephemeral_range(settings: ProjectSettings) -> Iterator[Problem]:
    start = settings.proxy_settings.kernel_ports_range_start
    end = settings.proxy_settings.kernel_ports_range_end
    if start >= end:
        yield problem(RANGE_END, f"{end} is not above {RANGE_START} {start}", "a port above it")
    elif start <= HEALTH_PORT <= end:
        wrong = f"the range {start}-{end} holds {HEALTH_PORT}, the port of the health listener"
        yield problem(RANGE_START, wrong, f"a range that begins above {HEALTH_PORT} or ends below it")


def _bind_ports_outside_range(settings: ProjectSettings) -> Iterator[Problem]:
    start = settings.proxy_settings.kernel_ports_range_start
    end = settings.proxy_settings.kernel_ports_range_end
    for path, port in (
        (WSS_PORT, settings.proxy_settings.wss_proxy_bind_port),
        (OAUTH_PORT, settings.proxy_settings.o_auth_proxy_bind_port),
    ):
        if start <= port <= end:
            yield problem(path, f"{port} is inside the ephemeral range {start}-{end}", "a port outside that range")


def _room_for_subnets(settings: ProjectSettings) -> Iterator[Problem]:
    vpc = settings.vpc
    block = ipaddress.IPv4Network(vpc.cidr)
    needed = 2 * vpc.max_azs
    smallest = next(mask for mask in range(block.prefixlen, 33) if 2 ** (mask - block.prefixlen) >= needed)
    if vpc.subnets.mask < smallest:
        wrong = f"{vpc.subnets.mask} leaves no room in {vpc.cidr} for {needed} subnets, two per availability zone"
        allowed = f"a whole number from {smallest} to 28" if smallest <= 28 else f"a larger {VPC_CIDR} or fewer {ZONES}"
        yield problem(MASK, wrong, allowed)


def _nat_gateways(settings: ProjectSettings) -> Iterator[Problem]:
    count, zones = settings.vpc.nat_gateways, settings.vpc.max_azs
    if count > zones:
        wrong = f"{count} is more than one per availability zone"
        yield problem(NAT_GATEWAYS, wrong, f"from 1 to {zones} ({ZONES})")


def _fleet_capacity(settings: ProjectSettings) -> Iterator[Problem]:
    fleet = settings.proxy_fleet
    if fleet.max_capacity < fleet.min_capacity:
        wrong = f"{fleet.max_capacity} is below {MINIMUM} {fleet.min_capacity}"
        yield problem(MAXIMUM, wrong, f"from {fleet.min_capacity} to 100")


def _one_architecture(settings: ProjectSettings) -> Iterator[Problem]:
    wanted = settings.architecture
    for index, name in enumerate(settings.imagebuilder.instance_types):
        if network.architecture_of(name) != wanted:
            wrong = f'"{name}" is not {wanted} as {FLEET_TYPE} {settings.proxy_fleet.instance_type} is'
            yield problem(f"{BUILD_TYPES}[{index}]", wrong, "instance types of one architecture")


def _authorizer_url(settings: ProjectSettings) -> Iterator[Problem]:
    url = settings.proxy_settings.authentication.authorizer_url
    port = settings.mock_servers.authorizer_port
    host = "http://${BACKEND_HOST}"
    on_mock_servers = settings.proxy_settings.authentication.provider == "external" and "${BACKEND_HOST}" in url
    if on_mock_servers and not url.startswith(f"{host}:{port}/"):
        wrong = f'"{url}" does not lead to the authorizer of the mock servers, port {port}'
        allowed = f"`{host}:{port}/authorize` ({AUTHORIZER}), or a host of your own"
        yield problem(AUTHORIZER_URL, wrong, allowed)


def _frame_size(settings: ProjectSettings) -> Iterator[Problem]:
    limits = settings.proxy_settings.limits
    if 0 < limits.max_message_size < limits.max_frame_size:
        wrong = f"{limits.max_frame_size} is above {MESSAGE_SIZE} {limits.max_message_size}"
        yield problem(FRAME_SIZE, wrong, f"from 0 to {limits.max_message_size}")


def _sessions_per_worker(settings: ProjectSettings) -> Iterator[Problem]:
    sessions = settings.proxy_settings.limits.sessions_per_worker
    most = settings.proxy_settings.proxy_worker_connections // 2
    if sessions > most:
        wrong = f"{sessions} sessions take more than {WORKER_CONNECTIONS}, two each"
        yield problem(WORKER_SESSIONS, wrong, f"from 0 to {most}")


def _limits_of_websockify(settings: ProjectSettings) -> Iterator[Problem]:
    limits = settings.proxy_settings.limits
    if settings.proxy_settings.bridge != "websockify":
        return
    for path, given in (
        (FRAME_SIZE, limits.max_frame_size > 0),
        (MESSAGE_SIZE, limits.max_message_size > 0),
    ):
        if given:
            wrong = f"is set, but {BRIDGE} websockify cannot enforce it"
            yield problem(path, wrong, f"zero, or `lua` as {BRIDGE}")


_PORTS = (WSS_PORT, OAUTH_PORT, TCP_SERVER, OAUTH_SERVER)

RULES = (
    Rule(
        f"All ports differ: `{WSS_PORT}`, `{OAUTH_PORT}`, `{TCP_SERVER}`, `{OAUTH_SERVER}`, `{AUTHORIZER}` and "
        f"{HEALTH_PORT}, on which every proxy answers health checks.",
        (*_PORTS, AUTHORIZER),
        _distinct_ports,
    ),
    Rule(
        f"`{WSS_PORT}` minus `{FACTOR}` is `{TCP_SERVER}`; `{OAUTH_PORT}` minus `{FACTOR}` is `{OAUTH_SERVER}`.",
        (*_PORTS, FACTOR),
        _backend_ports,
    ),
    Rule(
        f"`{RANGE_START}` is below `{RANGE_END}`, and {HEALTH_PORT} is outside that range.",
        (RANGE_START, RANGE_END),
        _ephemeral_range,
    ),
    Rule(
        f"`{WSS_PORT}` and `{OAUTH_PORT}` are outside that range too.",
        (WSS_PORT, OAUTH_PORT, RANGE_START, RANGE_END),
        _bind_ports_outside_range,
    ),
    Rule(
        f"`{VPC_CIDR}` has room for two subnets of `{MASK}` in each of `{ZONES}` availability zones.",
        (VPC_CIDR, MASK, ZONES),
        _room_for_subnets,
    ),
    Rule(f"`{NAT_GATEWAYS}` is at most `{ZONES}`.", (NAT_GATEWAYS, ZONES), _nat_gateways),
    Rule(f"`{MINIMUM}` is at most `{MAXIMUM}`.", (MINIMUM, MAXIMUM), _fleet_capacity),
    Rule(
        f"`{FLEET_TYPE}` and all of `{BUILD_TYPES}` have the same CPU architecture.",
        (FLEET_TYPE, BUILD_TYPES),
        _one_architecture,
    ),
    Rule(
        f"With `{PROVIDER}` `external` and a `{AUTHORIZER_URL}` on `${{BACKEND_HOST}}`, its port is `{AUTHORIZER}`.",
        (PROVIDER, AUTHORIZER_URL, AUTHORIZER),
        _authorizer_url,
    ),
    Rule(f"`{FRAME_SIZE}` is at most `{MESSAGE_SIZE}`, where both are set.", (FRAME_SIZE, MESSAGE_SIZE), _frame_size),
    Rule(
        f"`{WORKER_SESSIONS}` is at most half of `{WORKER_CONNECTIONS}`.",
        (WORKER_SESSIONS, WORKER_CONNECTIONS),
        _sessions_per_worker,
    ),
    Rule(
        f"`{FRAME_SIZE}` and `{MESSAGE_SIZE}` are not set with `{BRIDGE}` `websockify`, which cannot enforce them.",
        (BRIDGE, FRAME_SIZE, MESSAGE_SIZE),
        _limits_of_websockify,
    ),
    *POLICY_RULES,
)
