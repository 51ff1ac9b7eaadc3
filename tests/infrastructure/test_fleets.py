"""The machines: what they start from, what they are told, how they are replaced."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.names import ParameterNames
from tests import synthesis
from tests.synthesis import Template

FLEETS = [("ProxyFleet", "secure-proxy"), ("MockServers", "secure-proxy-mock-servers")]
each_fleet = pytest.mark.parametrize(("path", "image"), FLEETS, ids=[row[0] for row in FLEETS])


def launch_data(template: Template, path: str) -> dict[str, Any]:
    data: dict[str, Any] = template.one("AWS::EC2::LaunchTemplate", path)[1]["LaunchTemplateData"]
    return data


def group_of(template: Template, path: str) -> dict[str, Any]:
    return template.one("AWS::AutoScaling::AutoScalingGroup", path)[1]


@each_fleet
def test_the_image_is_asked_of_parameter_store_at_each_launch(template: Template, path: str, image: str) -> None:
    parameter = ParameterNames("secure-proxy").image(image)
    assert launch_data(template, path)["ImageId"] == f"resolve:ssm:{parameter}"


@each_fleet
def test_the_parameter_is_there_before_the_template_that_names_it(template: Template, path: str, image: str) -> None:
    logical_id, _ = template.one("AWS::EC2::LaunchTemplate", path)
    seed, properties = template.one("Custom::ImageParameters")
    assert seed in template.resources[logical_id]["DependsOn"]
    assert ParameterNames("secure-proxy").image(image) in properties["ImageParameters"]


def test_the_seed_is_the_base_image_of_the_recipes(template: Template) -> None:
    _, seed = template.one("Custom::ImageParameters")
    assert seed["BaseImageParameter"] == "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"


def test_the_seeder_can_reach_aws_while_it_is_needed(template: Template) -> None:
    seed, _ = template.one("Custom::ImageParameters")
    paths = [template.path(name) for name in template.resources[seed]["DependsOn"]]
    ways = ("PrivateSubnet1/DefaultRoute", "PrivateSubnet2/DefaultRoute", "Vpc/S3/")
    assert all(any(way in path for path in paths) for way in ways), paths


@each_fleet
def test_instances_need_a_session_token_for_metadata(template: Template, path: str, image: str) -> None:
    del image
    assert launch_data(template, path)["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


@each_fleet
def test_volumes_are_encrypted_with_our_key(template: Template, path: str, image: str) -> None:
    del image
    key, _ = template.one("AWS::KMS::Key")
    (mapping,) = template.resolve(launch_data(template, path)["BlockDeviceMappings"])
    assert mapping["Ebs"]["Encrypted"] is True
    assert mapping["Ebs"]["KmsKeyId"] == f"<{key}.Arn>"


@each_fleet
def test_there_is_no_key_pair(template: Template, path: str, image: str) -> None:
    del image
    assert "KeyName" not in launch_data(template, path)


@each_fleet
def test_groups_start_empty_and_keep_the_size_that_the_workflow_gives_them(
    template: Template, path: str, image: str
) -> None:
    del image
    logical_id, _ = template.one("AWS::AutoScaling::AutoScalingGroup", path)
    group = group_of(template, path)
    assert (group["MinSize"], group["MaxSize"]) == ("0", "100")
    assert "DesiredCapacity" not in group
    policy = template.resources[logical_id]["UpdatePolicy"]["AutoScalingScheduledAction"]
    assert policy == {"IgnoreUnmodifiedGroupSizeProperties": True}


@each_fleet
def test_a_new_instance_is_healthy_before_an_old_one_goes(template: Template, path: str, image: str) -> None:
    del image
    group = group_of(template, path)
    assert group["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 200}
    assert group["HealthCheckGracePeriod"] > 0


def test_a_proxy_is_not_replaced_because_of_what_stands_behind_it(template: Template) -> None:
    """Its load balancer asks `/readyz`, which fails on all proxies when the application does: sessions would be cut for
    proxies that are no better. The mock servers' checks ask for nothing but the machine itself."""
    types = {path: group_of(template, path)["HealthCheckType"] for path, _ in FLEETS}
    assert types == {"ProxyFleet": "EC2", "MockServers": "ELB"}
    checks = {
        entry["Properties"]["HealthCheckPath"]
        for name, entry in template.of_type("AWS::ElasticLoadBalancingV2::TargetGroup").items()
        if "ProxyFleet" in template.path(name)
    }
    assert checks == {"/readyz"}


@each_fleet
def test_groups_use_the_newest_version_of_their_template(template: Template, path: str, image: str) -> None:
    del image
    logical_id, _ = template.one("AWS::EC2::LaunchTemplate", path)
    assert group_of(template, path)["LaunchTemplate"] == {
        "LaunchTemplateId": {"Ref": logical_id},
        "Version": {"Fn::GetAtt": [logical_id, "LatestVersionNumber"]},
    }


def test_capacities_come_from_the_settings() -> None:
    template = synthesis.template(
        **{"projectSettings.proxyFleet.minCapacity": "3", "projectSettings.proxyFleet.maxCapacity": "7"}
    )
    _, machine = template.one("AWS::StepFunctions::StateMachine")
    assert '"capacity":3,"maxCapacity":7' in template.resolve(machine["DefinitionString"])


def test_changed_capacities_change_nothing_in_the_group_that_could_contradict_its_size(template: Template) -> None:
    changed = synthesis.template(
        **{"projectSettings.proxyFleet.minCapacity": "1", "projectSettings.proxyFleet.maxCapacity": "1"}
    )
    assert group_of(changed, "ProxyFleet") == group_of(template, "ProxyFleet")


def test_proxies_are_told_their_backend_certificate_name_and_policy(template: Template) -> None:
    lines = template.resolve(launch_data(template, "ProxyFleet")["UserData"]).splitlines()
    variables = dict(line.split("=", 1) for line in lines[1:])
    internal, _ = template.one("AWS::ElasticLoadBalancingV2::LoadBalancer", "MockServers")
    public, _ = template.one("AWS::ElasticLoadBalancingV2::LoadBalancer", "ProxyFleet")
    assert lines[0].startswith("#")
    assert variables["BACKEND_HOST"] == f"'<{internal}.DNSName>'"
    assert variables["CERTIFICATE_NAMES"] == f"'<{public}.DNSName>'"
    assert variables["POLICY"].startswith("'{")
    assert variables.keys() == {"BACKEND_HOST", "CERTIFICATE_NAMES", "POLICY"}


def test_mock_servers_are_told_the_name_of_their_load_balancer(template: Template) -> None:
    internal, _ = template.one("AWS::ElasticLoadBalancingV2::LoadBalancer", "MockServers")
    lines = template.resolve(launch_data(template, "MockServers")["UserData"]).splitlines()
    assert lines[1:] == [f"BACKEND_HOST='<{internal}.DNSName>'"]


def test_launches_that_fail_reach_the_e_mail_address_and_others_do_not(template: Template) -> None:
    failures, _ = template.one("AWS::SNS::Topic", "Failures")
    for path, _ in FLEETS:
        told = {
            entry["TopicARN"]["Ref"] == failures: set(entry["NotificationTypes"])
            for entry in group_of(template, path)["NotificationConfigurations"]
        }
        assert told[True] == {"autoscaling:EC2_INSTANCE_LAUNCH_ERROR", "autoscaling:EC2_INSTANCE_TERMINATE_ERROR"}
        assert told[False] == {"autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE"}


def test_nothing_is_kept_when_the_stack_is_deleted(template: Template) -> None:
    kept = [
        name
        for name, entry in template.resources.items()
        if entry.get("DeletionPolicy", "Delete") != "Delete" or entry.get("UpdateReplacePolicy", "Delete") != "Delete"
    ]
    assert kept == []


def test_the_log_group_is_the_settings_and_forgets_after_14_days(template: Template) -> None:
    groups = [entry["Properties"] for entry in template.of_type("AWS::Logs::LogGroup").values()]
    assert "SecureProxy" in [group.get("LogGroupName") for group in groups]
    assert all(group["RetentionInDays"] == 14 for group in groups)
    key, _ = template.one("AWS::KMS::Key")
    assert all(template.resolve(group["KmsKeyId"]) == f"<{key}.Arn>" for group in groups)
