"""Rules that join several settings: each is broken once, and its edge is kept."""

from __future__ import annotations

import pytest

from stacks.settings import load_settings
from stacks.settings_rules import RULES
from tests.unit.settings_support import all_keys, problems

WSS, OAUTH = "proxySettings.wssProxyBindPort", "proxySettings.oAuthProxyBindPort"
FACTOR = "proxySettings.proxyPortScaleFactor"
START, END = "proxySettings.kernel_ports_range_start", "proxySettings.kernel_ports_range_end"
TCP, OAUTH_SERVER = "mockServers.tcpServerPort", "mockServers.oAuthServerPort"
AUTHORIZER, AUTHORIZER_URL = "mockServers.authorizerPort", "proxySettings.authentication.authorizerUrl"
LIMITS = "proxySettings.limits"


@pytest.mark.parametrize(
    ("overrides", "path", "owner"),
    [
        ({OAUTH: 10000, OAUTH_SERVER: 9001}, OAUTH, "projectSettings.proxySettings.wssProxyBindPort"),
        ({WSS: 8080, TCP: 7080}, WSS, "the health listener"),
        ({OAUTH: 8080, OAUTH_SERVER: 7080}, OAUTH, "the health listener"),
        ({WSS: 9080, TCP: 8080}, TCP, "the health listener"),
        ({OAUTH: 9080, OAUTH_SERVER: 8080}, OAUTH_SERVER, "the health listener"),
        ({AUTHORIZER: 8080}, AUTHORIZER, "the health listener"),
        ({AUTHORIZER: 10000}, AUTHORIZER, "projectSettings.proxySettings.wssProxyBindPort"),
        ({AUTHORIZER: 11080}, AUTHORIZER, "projectSettings.proxySettings.oAuthProxyBindPort"),
        ({AUTHORIZER: 9000}, AUTHORIZER, "projectSettings.mockServers.tcpServerPort"),
        ({AUTHORIZER: 10080}, AUTHORIZER, "projectSettings.mockServers.oAuthServerPort"),
        ({OAUTH_SERVER: 9000, OAUTH: 10000}, OAUTH_SERVER, "projectSettings.mockServers.tcpServerPort"),
        ({WSS: 12080, TCP: 11080}, TCP, "projectSettings.proxySettings.oAuthProxyBindPort"),
        ({OAUTH: 11000, OAUTH_SERVER: 10000}, OAUTH_SERVER, "projectSettings.proxySettings.wssProxyBindPort"),
    ],
)
def test_two_ports_alike_are_refused(overrides: dict[str, object], path: str, owner: str) -> None:
    assert f"is the port of {owner} already, allowed: a port that nothing else has" in problems(overrides)[path]


def test_a_factor_of_zero_makes_bind_and_backend_port_alike() -> None:
    found = problems({FACTOR: 0, TCP: 10000, OAUTH_SERVER: 11080})
    assert set(found) == {TCP, OAUTH_SERVER}


@pytest.mark.parametrize(("path", "backend"), [(TCP, 9000), (OAUTH_SERVER, 10080)])
def test_a_mock_port_other_than_the_backend_port_is_refused(path: str, backend: int) -> None:
    found = problems({path: 9500})
    assert list(found) == [path]
    assert found[path].endswith(f", allowed: {backend}")


@pytest.mark.parametrize("factor", [10000, 11079, -54456, -60000])
def test_a_factor_that_leads_out_of_the_ports_is_refused(factor: int) -> None:
    assert "ports that do not exist" in problems({FACTOR: factor})[FACTOR]


@pytest.mark.parametrize(("factor", "tcp", "oauth_server"), [(9999, 1, 1081), (-54455, 64455, 65535)])
def test_a_factor_that_leads_to_the_last_ports_is_accepted(factor: int, tcp: int, oauth_server: int) -> None:
    assert load_settings(overrides={FACTOR: factor, TCP: tcp, OAUTH_SERVER: oauth_server})


@pytest.mark.parametrize(("path", "mock"), [(WSS, TCP), (OAUTH, OAUTH_SERVER)])
@pytest.mark.parametrize("port", [32768, 40000, 61000])
def test_a_bind_port_inside_the_ephemeral_range_is_refused(path: str, mock: str, port: int) -> None:
    found = problems({path: port, mock: port - 1000})
    assert list(found) == [path]
    assert "inside the ephemeral range 32768-61000" in found[path]


@pytest.mark.parametrize("port", [32767, 61001])
def test_a_bind_port_beside_the_ephemeral_range_is_accepted(port: int) -> None:
    assert load_settings(overrides={WSS: port, TCP: port - 1000})


@pytest.mark.parametrize(("start", "end"), [(1024, 9999), (8080, 9999), (1024, 8080)])
def test_the_health_port_inside_the_ephemeral_range_is_refused(start: int, end: int) -> None:
    found = problems({START: start, END: end})
    assert list(found) == [START]
    assert "8080, the port of the health listener" in found[START]


@pytest.mark.parametrize(("start", "end"), [(8081, 9999), (1024, 8079)])
def test_an_ephemeral_range_beside_the_health_port_is_accepted(start: int, end: int) -> None:
    assert load_settings(overrides={START: start, END: end})


def test_an_ephemeral_range_that_does_not_end_above_its_beginning_is_refused() -> None:
    assert list(problems({START: 50000, END: 50000})) == [END]


@pytest.mark.parametrize(
    ("cidr", "zones", "mask", "smallest"),
    [
        ("192.168.0.0/16", 2, 17, 18),
        ("192.168.0.0/16", 2, 16, 18),
        ("192.168.0.0/16", 3, 18, 19),
        ("192.168.0.0/16", 6, 19, 20),
        ("10.0.0.0/24", 2, 24, 26),
        ("10.0.0.0/26", 2, 27, 28),
    ],
)
def test_a_mask_without_room_for_two_subnets_a_zone_is_refused(cidr: str, zones: int, mask: int, smallest: int) -> None:
    overrides: dict[str, object] = {"vpc.cidr": cidr, "vpc.maxAzs": zones}
    found = problems({**overrides, "vpc.subnets.mask": mask})
    assert list(found) == ["vpc.subnets.mask"]
    assert found["vpc.subnets.mask"].endswith(f"allowed: a whole number from {smallest} to 28")
    assert load_settings(overrides={**overrides, "vpc.subnets.mask": smallest})


def test_a_vpc_too_small_for_any_mask_names_the_way_out() -> None:
    found = problems({"vpc.cidr": "10.0.0.0/28", "vpc.subnets.mask": 28})
    assert found["vpc.subnets.mask"].endswith("allowed: a larger vpc.cidr or fewer vpc.maxAzs")


def test_more_nat_gateways_than_zones_are_refused() -> None:
    assert list(problems({"vpc.natGateways": 3})) == ["vpc.natGateways"]
    assert load_settings(overrides={"vpc.natGateways": 2})


def test_a_maximum_capacity_below_the_minimum_is_refused() -> None:
    assert list(problems({"proxyFleet.minCapacity": 5})) == ["proxyFleet.maxCapacity"]
    assert load_settings(overrides={"proxyFleet.minCapacity": 4})


def test_instances_of_two_architectures_are_refused() -> None:
    found = problems({"imagebuilder.instanceTypes": ["t3.medium", "t4g.medium"]})
    assert list(found) == ["imagebuilder.instanceTypes[1]"]


@pytest.mark.parametrize(
    "url",
    ["http://${BACKEND_HOST}:10091/authorize", "http://${BACKEND_HOST}/authorize", "https://${BACKEND_HOST}:10090/"],
)
def test_an_authorizer_of_the_mock_servers_on_another_port_is_refused(url: str) -> None:
    overrides: dict[str, object] = {AUTHORIZER_URL: url, "proxySettings.authentication.provider": "external"}
    assert list(problems(overrides)) == [AUTHORIZER_URL]


def test_a_moved_authorizer_port_needs_the_url_to_follow() -> None:
    external: dict[str, object] = {"proxySettings.authentication.provider": "external", AUTHORIZER: 10095}
    assert list(problems(external)) == [AUTHORIZER_URL]
    assert load_settings(overrides={**external, AUTHORIZER_URL: "http://${BACKEND_HOST}:10095/authorize"})
    assert load_settings(overrides={**external, AUTHORIZER_URL: "https://authorizer.company.com/check"})


def test_the_authorizer_does_not_matter_to_openidc() -> None:
    assert load_settings(overrides={AUTHORIZER: 10095})


def test_a_frame_larger_than_a_message_is_refused() -> None:
    found = problems({f"{LIMITS}.maxFrameSize": 2000, f"{LIMITS}.maxMessageSize": 1999})
    assert list(found) == [f"{LIMITS}.maxFrameSize"]
    assert load_settings(overrides={f"{LIMITS}.maxFrameSize": 2000, f"{LIMITS}.maxMessageSize": 2000})
    assert load_settings(overrides={f"{LIMITS}.maxFrameSize": 2000})


def test_more_sessions_than_a_worker_has_connections_for_are_refused() -> None:
    assert list(problems({f"{LIMITS}.sessionsPerWorker": 8193})) == [f"{LIMITS}.sessionsPerWorker"]
    assert load_settings(overrides={f"{LIMITS}.sessionsPerWorker": 8192})


@pytest.mark.parametrize(("key", "value"), [("maxFrameSize", 1), ("maxMessageSize", 1)])
def test_a_limit_that_websockify_cannot_enforce_is_refused_with_it(key: str, value: object) -> None:
    found = problems({f"{LIMITS}.{key}": value, "proxySettings.bridge": "websockify"})
    assert list(found) == [f"{LIMITS}.{key}"]
    assert load_settings(overrides={f"{LIMITS}.{key}": value})


def test_every_rule_reads_keys_that_exist() -> None:
    assert {key for rule in RULES for key in rule.keys} <= set(all_keys())


def test_every_rule_says_all_its_keys_or_refers_to_the_rule_before_it() -> None:
    assert [
        rule.text
        for rule in RULES
        if "that range" not in rule.text and any(f"`{key}`" not in rule.text for key in rule.keys)
    ] == []
