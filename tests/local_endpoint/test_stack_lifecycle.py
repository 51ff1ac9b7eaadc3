"""The stack on the local endpoint: made by the real CDK CLI, changed, refused, deleted; asserted on resources.

The tests share one stack. Each leaves it as it was, but the last one, which deletes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stacks.names import MOCK_SERVERS_IMAGE, SECURE_PROXY_IMAGE, STACK, ParameterNames
from tests.local_endpoint.conftest import ADMITTED, BUCKET, Account
from tests.local_endpoint.inventory import inventory

IMAGES = [ParameterNames("secure-proxy").image(image) for image in (SECURE_PROXY_IMAGE, MOCK_SERVERS_IMAGE)]


@pytest.fixture
def original(account: Account) -> Iterator[Any]:
    """The template, to be changed; the stack has it again after the test."""
    original = account.template()
    yield account.template()
    if account.template() != original:
        assert account.change("update_stack", original)["StackStatus"] == "UPDATE_COMPLETE"


def one(template: Any, kind: str, **properties: str) -> str:
    """The logical id of the one resource of that type with these properties."""
    (found,) = (
        name
        for name, entry in template["Resources"].items()
        if entry["Type"] == kind and properties.items() <= entry["Properties"].items()
    )
    return str(found)


def physical(account: Account) -> dict[str, str]:
    """The physical ids of the stack's resources."""
    pages = account.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK)
    return {
        entry["LogicalResourceId"]: entry["PhysicalResourceId"]
        for page in pages
        for entry in page["StackResourceSummaries"]
    }


def test_every_resource_of_the_template_is_made(before: dict[str, set[str]], account: Account) -> None:
    declared = Counter(entry["Type"] for entry in account.template()["Resources"].values())
    now = inventory(account.client)
    # A VPC brings its main route table and its default security group; the CDK's own stack has more of some.
    brought = {"AWS::EC2::RouteTable": 1, "AWS::EC2::SecurityGroup": 1}
    cdk = {"AWS::IAM::Role": 5, "AWS::S3::Bucket": 1, "AWS::SSM::Parameter": 1}
    service_linked, seeded = {"AWS::IAM::Role": 1}, {"AWS::SSM::Parameter": len(IMAGES)}
    for kind, there in now.items():
        extra = sum(some.get(kind, 0) for some in (brought, cdk, service_linked, seeded))
        assert len(there - before[kind]) == declared[kind] + extra, kind


def test_the_custom_resource_has_seeded_the_image_parameters_with_an_ami(account: Account) -> None:
    answer = account.client("ssm").get_parameters(Names=IMAGES)["Parameters"]
    assert len(answer) == len(IMAGES)
    images = account.client("ec2").describe_images(ImageIds=[entry["Value"] for entry in answer])["Images"]
    assert [image["Name"] for image in images] == ["secure-proxy-base"]


def test_outputs_and_exports_are_what_was_made(account: Account) -> None:
    stack = account.settled(STACK)
    outputs = {entry["OutputKey"]: entry for entry in stack["Outputs"]}
    groups = inventory(account.client)["AWS::AutoScaling::AutoScalingGroup"]
    assert outputs["ProxyGroupName"]["OutputValue"] in groups
    exports = {entry["Name"]: entry["Value"] for entry in account.client("cloudformation").list_exports()["Exports"]}
    for output in outputs.values():
        assert exports[output["ExportName"]] == output["OutputValue"]


def test_only_admitted_addresses_reach_the_public_balancer(account: Account) -> None:
    ec2, ids = account.client("ec2"), physical(account)
    prefix_list = ids[one(account.template(), "AWS::EC2::PrefixList")]
    entries = ec2.get_managed_prefix_list_entries(PrefixListId=prefix_list)["Entries"]
    assert [entry["Cidr"] for entry in entries] == [ADMITTED]
    rules = [rule for group in ec2.describe_security_groups()["SecurityGroups"] for rule in group["IpPermissions"]]
    admitted = [rule["FromPort"] for rule in rules if {"PrefixListId": prefix_list}.items() <= _peer(rule).items()]
    assert sorted(admitted) == [10000, 11080]


def _peer(rule: Any) -> dict[str, str]:
    peers: list[dict[str, str]] = rule.get("PrefixListIds") or [{}]
    return peers[0]


def test_deploying_again_changes_nothing(account: Account) -> None:
    ids = physical(account)
    assert "(no changes)" in account.deploy()
    assert physical(account) == ids


def test_a_changed_component_becomes_a_new_one_with_its_recipe_and_the_pipeline_stays(
    account: Account, original: Any
) -> None:
    ids, resources = physical(account), original["Resources"]
    component = one(original, "AWS::ImageBuilder::Component", Name="secure-proxy-component")
    recipe = one(original, "AWS::ImageBuilder::ImageRecipe", Name="secure-proxy")
    pipeline = one(original, "AWS::ImageBuilder::ImagePipeline", Name="secure-proxy")
    for name in (component, recipe):
        resources[name]["Properties"]["Version"] = "1.0.1"
    assert account.change("update_stack", original)["StackStatus"] == "UPDATE_COMPLETE"
    now = physical(account)
    assert {name for name in now if now[name] != ids[name]} == {component, recipe}
    client = account.client("imagebuilder")
    found = client.get_image_pipeline(imagePipelineArn=now[pipeline])["imagePipeline"]
    assert found["imageRecipeArn"] == now[recipe]
    with pytest.raises(ClientError, match="cannot be found"):
        client.get_component(componentBuildVersionArn=ids[component])


def test_changed_content_under_the_same_version_is_refused_and_all_stays(account: Account, original: Any) -> None:
    ids = physical(account)
    component = one(original, "AWS::ImageBuilder::Component", Name="secure-proxy-component")
    original["Resources"][component]["Properties"]["Data"] += "\n# changed"
    stack = account.change("update_stack", original)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "already exists" in account.failures(stack)[0]
    assert physical(account) == ids


def test_a_new_version_of_a_launch_template_leaves_its_group_and_the_groups_size(
    account: Account, original: Any
) -> None:
    scaling, ids = account.client("autoscaling"), physical(account)
    template = next(
        name for name, entry in original["Resources"].items() if entry["Type"] == "AWS::EC2::LaunchTemplate"
    )
    groups = [
        ids[name] for name, entry in original["Resources"].items() if "LaunchTemplate" in entry.get("Properties", {})
    ]
    for group in groups:
        scaling.update_auto_scaling_group(AutoScalingGroupName=group, MaxSize=3)
    original["Resources"][template]["Properties"]["LaunchTemplateData"]["InstanceType"] = "t3.large"
    assert account.change("update_stack", original)["StackStatus"] == "UPDATE_COMPLETE"
    assert physical(account) == ids
    found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=groups)["AutoScalingGroups"]
    assert [group["MaxSize"] for group in found] == [3, 3]
    versions = {group["LaunchTemplate"]["LaunchTemplateId"]: group["LaunchTemplate"]["Version"] for group in found}
    assert versions[ids[template]] == "2"


def test_a_stack_that_cannot_be_made_leaves_nothing(account: Account) -> None:
    there = inventory(account.client)
    stack = account.change("create_stack", account.template(), name="Second")  # wants the first one's names
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "exist" in account.failures(stack)[-1]
    assert inventory(account.client) == there


def test_a_type_that_is_not_known_is_refused_by_its_name(account: Account, original: Any) -> None:
    original["Resources"]["Other"] = {"Type": "AWS::Unheard::Of"}
    with pytest.raises(ClientError, match="AWS::Unheard::Of"):
        account.change("update_stack", original)


def test_deleting_the_stack_leaves_nothing(before: dict[str, set[str]], account: Account) -> None:
    for name in (STACK, "CDKToolkit"):
        identity = account.settled(name)["StackId"]
        account.client("cloudformation").delete_stack(StackName=name)
        assert account.settled(identity)["StackStatus"] == "DELETE_COMPLETE"
    now = inventory(account.client)
    left = {kind: there - before[kind] for kind, there in now.items() if there - before[kind]}
    # Which the CDK's template says is to be retained.
    assert left == {"AWS::S3::Bucket": {BUCKET}}
    assert account.client("ssm").get_parameters(Names=IMAGES)["Parameters"] == []
