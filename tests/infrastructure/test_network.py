"""Who may reach which port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import synthesis
from tests.synthesis import Template

ANYWHERE = "anywhere"
ADMITTED = "admitted addresses"


def name_of(template: Template, rule: dict[str, Any], *keys: str) -> str:
    """The other end of a rule."""
    for key in keys:
        if key in rule:
            target = rule[key]["Fn::GetAtt"][0]
            return template.path(target).split("/")[2]
    if "SourcePrefixListId" in rule:
        assert template.resources[rule["SourcePrefixListId"]["Fn::GetAtt"][0]]["Type"] == "AWS::EC2::PrefixList"
        return ADMITTED
    assert rule["CidrIp"] == "0.0.0.0/0"
    return ANYWHERE


def rules(template: Template, direction: str) -> Iterator[tuple[str, str, int]]:
    """(this group, other end, port) of each rule of a direction, `Ingress` or `Egress`."""
    other = "SourceSecurityGroupId" if direction == "Ingress" else "DestinationSecurityGroupId"
    for logical_id, entry in template.of_type("AWS::EC2::SecurityGroup").items():
        group = template.path(logical_id).split("/")[2]
        for rule in entry["Properties"].get(f"SecurityGroup{direction}", []):
            yield from _ports(template, group, rule, other)
    for entry in template.of_type(f"AWS::EC2::SecurityGroup{direction}").values():
        rule = entry["Properties"]
        group = template.path(rule["GroupId"]["Fn::GetAtt"][0]).split("/")[2]
        yield from _ports(template, group, rule, other)


def _ports(template: Template, group: str, rule: dict[str, Any], other: str) -> Iterator[tuple[str, str, int]]:
    if rule.get("CidrIp") == "255.255.255.255/32":
        return  # the CDK's way of saying: nowhere
    assert rule["IpProtocol"] == "tcp"
    assert rule["FromPort"] == rule["ToPort"]
    yield group, name_of(template, rule, other), rule["FromPort"]


def test_what_may_be_reached(template: Template) -> None:
    assert set(rules(template, "Ingress")) == {
        ("PublicBalancer", ADMITTED, 10000),
        ("PublicBalancer", ADMITTED, 11080),
        ("Proxies", "PublicBalancer", 10000),
        ("Proxies", "PublicBalancer", 11080),
        ("Proxies", "PublicBalancer", 8080),
        ("InternalBalancer", "Proxies", 9000),
        ("InternalBalancer", "Proxies", 10080),
        ("MockServers", "InternalBalancer", 9000),
        ("MockServers", "InternalBalancer", 10080),
        ("Applications", "InternalBalancer", 9000),
    }


def test_where_connections_may_be_opened_to(template: Template) -> None:
    inward = {(other, group, port) for group, other, port in rules(template, "Ingress") if other != ADMITTED}
    outward = set(rules(template, "Egress"))
    assert inward <= outward
    assert outward - inward == {
        ("Proxies", ANYWHERE, 443),
        ("MockServers", ANYWHERE, 443),
        ("ImageBuilds", ANYWHERE, 443),
        ("ImageBuilds", ANYWHERE, 80),
        ("Functions", ANYWHERE, 443),
    }


def test_machines_that_carry_the_applications_group_are_reached_by_the_internal_load_balancer_alone(
    template: Template,
) -> None:
    assert [rule for rule in rules(template, "Ingress") if rule[0] == "Applications"] == [
        ("Applications", "InternalBalancer", 9000)
    ]
    assert ("InternalBalancer", "Applications", 9000) in set(rules(template, "Egress"))
    assert not [rule for rule in rules(template, "Egress") if rule[0] == "Applications"]


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ({"issuer": "https://login.company.com/tenant"}, {443}),
        ({"issuer": "https://login.company.com:8443/tenant"}, {443, 8443}),
        ({"issuer": "http://login.company.com/tenant"}, {443, 80}),
        ({"furtherIssuers": '[{"issuer": "https://other.company.com:9443"}]'}, {443, 9443}),
        ({"provider": "external", "authorizerUrl": "https://decide.company.com:7443/a"}, {443, 7443}),
        ({"authorizerUrl": "https://decide.company.com:7443/a"}, {443}),  # nobody asks it
    ],
)
def test_proxies_reach_issuers_and_authorizer_on_the_ports_that_these_have(
    settings: dict[str, str], ports: set[int]
) -> None:
    prefix = "projectSettings.proxySettings.authentication"
    template = synthesis.template(**{f"{prefix}.{key}": value for key, value in settings.items()})
    outward = {port for group, other, port in rules(template, "Egress") if (group, other) == ("Proxies", ANYWHERE)}
    assert outward == ports


def test_with_an_external_authorizer_its_port_is_open_too() -> None:
    template = synthesis.template(**{"projectSettings.proxySettings.authentication.provider": "external"})
    ingress = set(rules(template, "Ingress"))
    assert ("InternalBalancer", "Proxies", 10090) in ingress
    assert ("MockServers", "InternalBalancer", 10090) in ingress


@pytest.mark.parametrize("port", [22, 3389])
def test_no_remote_shell_port_is_open_anywhere(template: Template, port: int) -> None:
    assert port not in {rule[2] for rule in rules(template, "Ingress")}


def test_the_admitted_addresses_are_the_parameter(template: Template) -> None:
    _, admitted = template.one("AWS::EC2::PrefixList")
    assert [entry["Cidr"] for entry in admitted["Entries"]] == [{"Ref": "AdmittedCidr"}]


def test_detection_leaves_no_default_so_that_nothing_is_opened_by_forgetting(template: Template) -> None:
    assert "Default" not in template.document["Parameters"]["AdmittedCidr"]


def test_a_configured_address_is_the_default() -> None:
    context = {
        "projectSettings.externalIp.autoDetect": "false",
        "projectSettings.externalIp.iPAddress": "198.51.100.0/24",
    }
    template = synthesis.template(**context)
    assert template.document["Parameters"]["AdmittedCidr"]["Default"] == "198.51.100.0/24"


def test_there_are_two_zones_with_a_public_and_a_private_subnet_each(template: Template) -> None:
    subnets = [entry["Properties"] for entry in template.of_type("AWS::EC2::Subnet").values()]
    zones = sorted((subnet["AvailabilityZone"]["Fn::Select"][0], subnet["MapPublicIpOnLaunch"]) for subnet in subnets)
    assert zones == [(0, False), (0, True), (1, False), (1, True)]
    assert all(subnet["CidrBlock"].endswith("/22") for subnet in subnets)


@pytest.mark.parametrize(
    ("resource_type", "path", "key", "subnet"),
    [
        ("AWS::AutoScaling::AutoScalingGroup", "ProxyFleet", "VPCZoneIdentifier", "PublicSubnet"),
        ("AWS::AutoScaling::AutoScalingGroup", "MockServers", "VPCZoneIdentifier", "PrivateSubnet"),
        ("AWS::ElasticLoadBalancingV2::LoadBalancer", "ProxyFleet", "Subnets", "PublicSubnet"),
        ("AWS::ElasticLoadBalancingV2::LoadBalancer", "MockServers", "Subnets", "PrivateSubnet"),
    ],
)
def test_what_is_in_which_subnets(template: Template, resource_type: str, path: str, key: str, subnet: str) -> None:
    _, properties = template.one(resource_type, path)
    paths = [template.path(entry["Ref"]) for entry in properties[key]]
    assert len(paths) == 2
    assert all(subnet in entry for entry in paths)


def test_builds_and_functions_run_in_private_subnets(template: Template) -> None:
    for entry in template.of_type("AWS::ImageBuilder::InfrastructureConfiguration").values():
        assert "PrivateSubnet" in template.path(entry["Properties"]["SubnetId"]["Ref"])
    for entry in template.of_type("AWS::Lambda::Function").values():
        subnets = entry["Properties"]["VpcConfig"]["SubnetIds"]
        assert all("PrivateSubnet" in template.path(subnet["Ref"]) for subnet in subnets)


def test_private_subnets_reach_the_internet_through_nat_alone(template: Template) -> None:
    for logical_id, entry in template.of_type("AWS::EC2::Route").items():
        if "PrivateSubnet" in template.path(logical_id):
            assert "NatGatewayId" in entry["Properties"]
            assert "GatewayId" not in entry["Properties"]


def test_all_flows_are_logged(template: Template) -> None:
    _, flow_log = template.one("AWS::EC2::FlowLog")
    assert flow_log["TrafficType"] == "ALL"
    assert flow_log["ResourceType"] == "VPC"


class TestLoadBalancers:
    """Two, which pass TCP through."""

    @pytest.fixture(params=["ProxyFleet", "MockServers"])
    def balancer(self, request: pytest.FixtureRequest, template: Template) -> dict[str, Any]:
        return template.one("AWS::ElasticLoadBalancingV2::LoadBalancer", request.param)[1]

    def attributes(self, template: Template, balancer: dict[str, Any]) -> dict[str, Any]:
        return {entry["Key"]: template.resolve(entry["Value"]) for entry in balancer["LoadBalancerAttributes"]}

    def test_they_are_network_load_balancers_over_all_zones(self, template: Template, balancer: dict[str, Any]) -> None:
        assert balancer["Type"] == "network"
        assert self.attributes(template, balancer)["load_balancing.cross_zone.enabled"] == "true"

    def test_they_log_to_the_bucket(self, template: Template, balancer: dict[str, Any]) -> None:
        bucket, _ = template.one("AWS::S3::Bucket")
        attributes = self.attributes(template, balancer)
        assert attributes["access_logs.s3.enabled"] == "true"
        assert attributes["access_logs.s3.bucket"] == f"<{bucket}>"

    def test_one_is_public_and_one_is_not(self, template: Template) -> None:
        schemes = {
            path: template.one("AWS::ElasticLoadBalancingV2::LoadBalancer", path)[1]["Scheme"]
            for path in ("ProxyFleet", "MockServers")
        }
        assert schemes == {"ProxyFleet": "internet-facing", "MockServers": "internal"}

    def test_each_has_its_security_group(self, template: Template) -> None:
        for path, group in (("ProxyFleet", "PublicBalancer"), ("MockServers", "InternalBalancer")):
            _, balancer = template.one("AWS::ElasticLoadBalancingV2::LoadBalancer", path)
            (found,) = balancer["SecurityGroups"]
            assert f"Network/{group}/" in template.path(found["Fn::GetAtt"][0])

    @pytest.mark.parametrize(
        ("path", "port", "check"),
        [
            ("ProxyFleet", 10000, ("HTTP", "8080", "/readyz")),
            ("ProxyFleet", 11080, ("HTTP", "8080", "/readyz")),
            ("MockServers", 9000, ("TCP", None, None)),
            ("MockServers", 10080, ("HTTP", None, "/awsexample/.well-known/openid-configuration")),
        ],
    )
    def test_a_listener_leads_to_the_group_of_its_port(
        self, template: Template, path: str, port: int, check: tuple[str, str | None, str | None]
    ) -> None:
        (listener,) = (
            entry["Properties"]
            for name, entry in template.of_type("AWS::ElasticLoadBalancingV2::Listener").items()
            if path in template.path(name) and entry["Properties"]["Port"] == port
        )
        assert listener["Protocol"] == "TCP"
        (action,) = listener["DefaultActions"]
        group_id = action["TargetGroupArn"]["Ref"]
        group = template.resources[group_id]["Properties"]
        assert (group["Port"], group["Protocol"], group["TargetType"]) == (port, "TCP", "instance")
        found = (group["HealthCheckProtocol"], group.get("HealthCheckPort"), group.get("HealthCheckPath"))
        assert found == check
        machines = template.one("AWS::AutoScaling::AutoScalingGroup", path)[1]
        assert {"Ref": group_id} in machines["TargetGroupARNs"]


class TestTargetGroups:
    """What the balancers do with targets that change."""

    @pytest.fixture(params=[("ProxyFleet", "true"), ("MockServers", "false")], ids=["public", "internal"])
    def groups(self, request: pytest.FixtureRequest, template: Template) -> tuple[list[dict[str, str]], str]:
        path, preserved = request.param
        found = [
            {attribute["Key"]: attribute["Value"] for attribute in entry["Properties"]["TargetGroupAttributes"]}
            for name, entry in template.of_type("AWS::ElasticLoadBalancingV2::TargetGroup").items()
            if path in template.path(name)
        ]
        assert len(found) == 2
        return found, preserved

    def test_the_address_of_a_client_is_kept_for_proxies_alone(self, groups: tuple[list[dict[str, str]], str]) -> None:
        found, preserved = groups
        assert [attributes["preserve_client_ip.enabled"] for attributes in found] == [preserved] * 2

    def test_sessions_of_a_target_that_is_not_ready_go_on(self, groups: tuple[list[dict[str, str]], str]) -> None:
        for attributes in groups[0]:
            assert attributes["target_health_state.unhealthy.connection_termination.enabled"] == "false"

    def test_a_target_that_goes_stays_for_as_long_as_it_is_sent_connections(
        self, groups: tuple[list[dict[str, str]], str]
    ) -> None:
        assert all(int(attributes["deregistration_delay.timeout_seconds"]) >= 90 for attributes in groups[0])


class TestAccessLogBucket:
    """Where the balancers' logs go."""

    def test_it_is_encrypted_private_and_forgets(self, template: Template) -> None:
        _, bucket = template.one("AWS::S3::Bucket")
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == 90

    def test_it_refuses_what_is_not_tls(self, template: Template) -> None:
        _, policy = template.one("AWS::S3::BucketPolicy")
        denials = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
        assert any(s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for s in denials)

    def test_only_log_delivery_of_this_account_writes(self, template: Template) -> None:
        _, policy = template.one("AWS::S3::BucketPolicy")
        allowed = [s for s in template.resolve(policy["PolicyDocument"]["Statement"]) if s["Effect"] == "Allow"]
        for statement in allowed:
            assert statement["Principal"]["Service"] in ("delivery.logs.amazonaws.com", "logging.s3.amazonaws.com")
            assert synthesis.ACCOUNT in str(statement["Condition"])
