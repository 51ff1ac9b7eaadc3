"""Rules that join several settings: ports that must differ or agree, ranges, room for subnets, combinations.

Every rule names the keys that it reads. It runs only when none of them is in error by itself, so that one mistake is
reported once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stacks import settings_network as network
from stacks.settings_models import ProjectSettings
from stacks.settings_types import milliseconds

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
LIMITS = "proxySettings.limits"
_AUTHENTICATION = "proxySettings.authentication"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the dotted path below `projectSettings` and the text that follows it."""

    path: str
    text: str


@dataclass(frozen=True)
class Rule:
    keys: tuple[str, ...]
    check: Callable[[ProjectSettings], Iterator[Problem]]


def problem(path: str, wrong: str, allowed: str) -> Problem:
    return Problem(path, f"{wrong}, allowed: {allowed}")


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
    for bind_path, bind, mock_path, mock in (
        (WSS_PORT, proxy.wss_proxy_bind_port, TCP_SERVER, mocks.tcp_server_port),
        (OAUTH_PORT, proxy.o_auth_proxy_bind_port, OAUTH_SERVER, mocks.o_auth_server_port),
    ):
        backend = bind - factor
        if not 1 <= backend <= 65535:
            allowed = f"a factor from {bind - 65535} to {bind - 1} for this bind port"
            yield problem(FACTOR, f"{factor} makes {bind_path} {bind} the backend port {backend}", allowed)
        elif backend != mock:
            yield problem(mock_path, f"{mock} is not {bind_path} {bind} minus {FACTOR} {factor}", str(backend))


def _ephemeral_range(settings: ProjectSettings) -> Iterator[Problem]:
    start = settings.proxy_settings.kernel_ports_range_start
    end = settings.proxy_settings.kernel_ports_range_end
    if start > end:
        yield problem(RANGE_END, f"{end} is below {RANGE_START} {start}", f"a whole number from {start} to 65535")
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
        allowed = f"a whole number from {smallest} to 28" if smallest <= 28 else "a larger vpc.cidr or fewer vpc.maxAzs"
        yield problem("vpc.subnets.mask", wrong, allowed)


def _nat_gateways(settings: ProjectSettings) -> Iterator[Problem]:
    count, zones = settings.vpc.nat_gateways, settings.vpc.max_azs
    if count > zones:
        wrong = f"{count} is more than one per availability zone"
        yield problem("vpc.natGateways", wrong, f"from 1 to {zones} (vpc.maxAzs)")


def _fleet_capacity(settings: ProjectSettings) -> Iterator[Problem]:
    fleet = settings.proxy_fleet
    if fleet.max_capacity < fleet.min_capacity:
        wrong = f"{fleet.max_capacity} is below proxyFleet.minCapacity {fleet.min_capacity}"
        yield problem("proxyFleet.maxCapacity", wrong, f"from {fleet.min_capacity} to 100")


def _one_architecture(settings: ProjectSettings) -> Iterator[Problem]:
    wanted = settings.architecture
    for index, name in enumerate(settings.imagebuilder.instance_types):
        if network.architecture_of(name) != wanted:
            wrong = f'"{name}" is not {wanted} as proxyFleet.instanceType {settings.proxy_fleet.instance_type} is'
            yield problem(f"imagebuilder.instanceTypes[{index}]", wrong, "instance types of one architecture")


def _authorizer_url(settings: ProjectSettings) -> Iterator[Problem]:
    url = settings.proxy_settings.authentication.authorizer_url
    port = settings.mock_servers.authorizer_port
    host = "http://${BACKEND_HOST}"
    on_mock_servers = settings.proxy_settings.authentication.provider == "external" and "${BACKEND_HOST}" in url
    if on_mock_servers and not url.startswith(f"{host}:{port}/"):
        wrong = f'"{url}" does not lead to the authorizer of the mock servers, port {port}'
        allowed = f"`{host}:{port}/authorize` (mockServers.authorizerPort), or a host of your own"
        yield problem(f"{_AUTHENTICATION}.authorizerUrl", wrong, allowed)


def _message_and_frame(settings: ProjectSettings) -> Iterator[Problem]:
    limits = settings.proxy_settings.limits
    if 0 < limits.max_message_size < limits.max_frame_size:
        wrong = f"{limits.max_frame_size} is above {LIMITS}.maxMessageSize {limits.max_message_size}"
        yield problem(f"{LIMITS}.maxFrameSize", wrong, f"from 0 to {limits.max_message_size}")


def _sessions_per_worker(settings: ProjectSettings) -> Iterator[Problem]:
    sessions = settings.proxy_settings.limits.sessions_per_worker
    most = settings.proxy_settings.proxy_worker_connections // 2
    if sessions > most:
        wrong = f"{sessions} sessions take more than proxySettings.proxyWorkerConnections, two each"
        yield problem(f"{LIMITS}.sessionsPerWorker", wrong, f"from 0 to {most}")


def _limits_of_websockify(settings: ProjectSettings) -> Iterator[Problem]:
    limits = settings.proxy_settings.limits
    if settings.proxy_settings.bridge != "websockify":
        return
    for key, given in (
        ("maxSessionAge", milliseconds(limits.max_session_age) > 0),
        ("maxFrameSize", limits.max_frame_size > 0),
        ("maxMessageSize", limits.max_message_size > 0),
    ):
        if given:
            wrong = f"is set, but {BRIDGE} websockify cannot enforce it"
            yield problem(f"{LIMITS}.{key}", wrong, f'0, or {BRIDGE} "lua"')


_PORTS = (WSS_PORT, OAUTH_PORT, TCP_SERVER, OAUTH_SERVER)

RULES = (
    Rule((*_PORTS, AUTHORIZER), _distinct_ports),
    Rule((*_PORTS, FACTOR), _backend_ports),
    Rule((RANGE_START, RANGE_END), _ephemeral_range),
    Rule((WSS_PORT, OAUTH_PORT, RANGE_START, RANGE_END), _bind_ports_outside_range),
    Rule(("vpc.cidr", "vpc.subnets.mask", "vpc.maxAzs"), _room_for_subnets),
    Rule(("vpc.natGateways", "vpc.maxAzs"), _nat_gateways),
    Rule(("proxyFleet.minCapacity", "proxyFleet.maxCapacity"), _fleet_capacity),
    Rule(("proxyFleet.instanceType", "imagebuilder.instanceTypes"), _one_architecture),
    Rule((f"{_AUTHENTICATION}.provider", f"{_AUTHENTICATION}.authorizerUrl", AUTHORIZER), _authorizer_url),
    Rule((f"{LIMITS}.maxFrameSize", f"{LIMITS}.maxMessageSize"), _message_and_frame),
    Rule((f"{LIMITS}.sessionsPerWorker", "proxySettings.proxyWorkerConnections"), _sessions_per_worker),
    Rule(
        (BRIDGE, f"{LIMITS}.maxSessionAge", f"{LIMITS}.maxFrameSize", f"{LIMITS}.maxMessageSize"), _limits_of_websockify
    ),
)
