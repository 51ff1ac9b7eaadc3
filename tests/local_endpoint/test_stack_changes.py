"""What an update of the stack changes in place, as the services show it: for each type, one property.

All changes are one update of the shared stack, which has its own template again afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.local_endpoint.conftest import Account
from tests.local_endpoint.test_stack_lifecycle import physical

Client = Callable[[str], Any]


@dataclass(frozen=True)
class Change:
    """A resource of a type that gets another value; `shown` is how the service tells it.

    The first resource of the type that has `key` is taken. `value` makes the new one of the old one.
    """

    kind: str
    key: str
    value: Callable[[Any], Any]
    shown: Callable[[Client, str, dict[str, Any]], Any]
    expected: Any


def with_statement(document: dict[str, Any]) -> dict[str, Any]:
    """A policy with one more statement: the first one again, under another name."""
    return {**document, "Statement": [*document["Statement"], {**document["Statement"][0], "Sid": "Added"}]}


def has_statement(document: Any) -> bool:
    found = json.loads(document) if isinstance(document, str) else document
    return any(statement.get("Sid") == "Added" for statement in found["Statement"])


def with_attribute(key: str, value: str) -> Callable[[Any], Any]:
    return lambda attributes: [*(entry for entry in attributes if entry["Key"] != key), {"Key": key, "Value": value}]


def policy_of_role(client: Client, name: str, properties: dict[str, Any]) -> bool:
    policy = client("iam").get_role_policy(RoleName=properties["Roles"][0], PolicyName=name)
    return has_statement(policy["PolicyDocument"])


def managed_policy(client: Client, arn: str, _properties: dict[str, Any]) -> bool:
    version = client("iam").get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    policy = client("iam").get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
    return has_statement(policy["Document"])


def topic(client: Client, arn: str) -> dict[str, str]:
    found: dict[str, str] = client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    return found


def queue(client: Client, url: str) -> dict[str, str]:
    found: dict[str, str] = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def balancer(client: Client, arn: str, _properties: dict[str, Any]) -> str:
    attributes = client("elbv2").describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    return str(next(entry["Value"] for entry in attributes if entry["Key"] == "deletion_protection.enabled"))


CHANGES = [
    Change("AWS::ElasticLoadBalancingV2::LoadBalancer", "LoadBalancerAttributes",
           with_attribute("deletion_protection.enabled", "true"), balancer, "true"),
    Change("AWS::ElasticLoadBalancingV2::TargetGroup", "HealthCheckIntervalSeconds", lambda _: 17,
           lambda client, arn, _: client("elbv2").describe_target_groups(
               TargetGroupArns=[arn])["TargetGroups"][0]["HealthCheckIntervalSeconds"], 17),
    Change("AWS::ElasticLoadBalancingV2::Listener", "Port", lambda _: 4711,
           lambda client, arn, _: client("elbv2").describe_listeners(ListenerArns=[arn])["Listeners"][0]["Port"], 4711),
    Change("AWS::IAM::Role", "Description", lambda _: "changed",
           lambda client, name, _: client("iam").get_role(RoleName=name)["Role"]["Description"], "changed"),
    Change("AWS::IAM::Policy", "PolicyDocument", with_statement, policy_of_role, True),
    Change("AWS::IAM::ManagedPolicy", "PolicyDocument", with_statement, managed_policy, True),
    Change("AWS::KMS::Key", "Description", lambda _: "changed",
           lambda client, key, _: client("kms").describe_key(KeyId=key)["KeyMetadata"]["Description"], "changed"),
    Change("AWS::SNS::Topic", "DisplayName", lambda _: "changed",
           lambda client, arn, _: topic(client, arn)["DisplayName"], "changed"),
    Change("AWS::SNS::TopicPolicy", "PolicyDocument", with_statement,
           lambda client, _, properties: has_statement(topic(client, properties["Topics"][0])["Policy"]), True),
    Change("AWS::SQS::Queue", "MessageRetentionPeriod", lambda _: 3600,
           lambda client, url, _: queue(client, url)["MessageRetentionPeriod"], "3600"),
    Change("AWS::SQS::QueuePolicy", "PolicyDocument", with_statement,
           lambda client, _, properties: has_statement(queue(client, properties["Queues"][0])["Policy"]), True),
    Change("AWS::Events::Rule", "Description", lambda _: "changed",
           lambda client, name, _: client("events").describe_rule(Name=name)["Description"], "changed"),
    Change("AWS::CloudWatch::Alarm", "Threshold", lambda _: 4711,
           lambda client, name, _: client("cloudwatch").describe_alarms(
               AlarmNames=[name])["MetricAlarms"][0]["Threshold"], 4711),
    Change("AWS::CloudWatch::Dashboard", "DashboardBody", lambda _: '{"widgets":[]}',
           lambda client, name, _: client("cloudwatch").get_dashboard(
               DashboardName=name)["DashboardBody"], '{"widgets":[]}'),
    Change("AWS::EC2::PrefixList", "Entries", lambda _: [{"Cidr": "198.51.100.0/24"}],
           lambda client, name, _: [entry["Cidr"] for entry in client("ec2").get_managed_prefix_list_entries(
               PrefixListId=name)["Entries"]], ["198.51.100.0/24"]),
    Change("AWS::S3::Bucket", "VersioningConfiguration", lambda _: {"Status": "Suspended"},
           lambda client, name, _: client("s3").get_bucket_versioning(Bucket=name)["Status"], "Suspended"),
    Change("AWS::S3::BucketPolicy", "PolicyDocument", with_statement,
           lambda client, _, properties: has_statement(
               client("s3").get_bucket_policy(Bucket=properties["Bucket"])["Policy"]), True),
    Change("AWS::SSM::Parameter", "Value", lambda _: "changed",
           lambda client, name, _: client("ssm").get_parameter(Name=name)["Parameter"]["Value"], "changed"),
    Change("AWS::Logs::LogGroup", "RetentionInDays", lambda _: 3,
           lambda client, name, _: client("logs").describe_log_groups(
               logGroupNamePrefix=name)["logGroups"][0]["retentionInDays"], 3),
    Change("AWS::Logs::MetricFilter", "FilterPattern", lambda _: "changed",
           lambda client, name, properties: [
               entry["filterPattern"] for entry in client("logs").describe_metric_filters(
                   logGroupName=properties["LogGroupName"], filterNamePrefix=name)["metricFilters"]], ["changed"]),
    Change("AWS::Lambda::Function", "Description", lambda _: "changed",
           lambda client, name, _: client("lambda").get_function_configuration(FunctionName=name)["Description"],
           "changed"),
    Change("AWS::StepFunctions::StateMachine", "DefinitionString",
           lambda _: '{"StartAt":"Done","States":{"Done":{"Type":"Succeed"}}}',
           lambda client, arn, _: json.loads(client("stepfunctions").describe_state_machine(
               stateMachineArn=arn)["definition"])["StartAt"], "Done"),
    Change("AWS::AutoScaling::AutoScalingGroup", "HealthCheckGracePeriod", lambda _: 471,
           lambda client, name, _: client("autoscaling").describe_auto_scaling_groups(
               AutoScalingGroupNames=[name])["AutoScalingGroups"][0]["HealthCheckGracePeriod"], 471),
    Change("AWS::ImageBuilder::Component", "Tags", lambda _: {"colour": "green"},
           lambda client, arn, _: client("imagebuilder").get_component(
               componentBuildVersionArn=arn)["component"]["tags"], {"colour": "green"}),
    Change("AWS::ImageBuilder::ImageRecipe", "Tags", lambda _: {"colour": "green"},
           lambda client, arn, _: client("imagebuilder").get_image_recipe(
               imageRecipeArn=arn)["imageRecipe"]["tags"], {"colour": "green"}),
    Change("AWS::ImageBuilder::InfrastructureConfiguration", "InstanceTypes", lambda _: ["m7i.large"],
           lambda client, arn, _: client("imagebuilder").get_infrastructure_configuration(
               infrastructureConfigurationArn=arn)["infrastructureConfiguration"]["instanceTypes"], ["m7i.large"]),
    Change("AWS::ImageBuilder::ImagePipeline", "Status", lambda _: "DISABLED",
           lambda client, arn, _: client("imagebuilder").get_image_pipeline(
               imagePipelineArn=arn)["imagePipeline"]["status"], "DISABLED"),
]  # fmt: skip


@dataclass(frozen=True)
class Changed:
    """The stack after the update."""

    account: Account
    before: dict[str, str]
    after: dict[str, str]
    logical_ids: dict[str, str]  # by type, of what was changed
    processed: dict[str, dict[str, Any]]  # properties with their references resolved, by logical id

    def shown(self, change: Change) -> Any:
        logical_id = self.logical_ids[change.kind]
        return change.shown(self.account.client, self.after[logical_id], self.processed[logical_id])


@pytest.fixture(scope="module")
def changed(account: Account) -> Iterator[Changed]:
    template, original, before = account.template(), account.template(), physical(account)
    logical_ids = {}
    for change in CHANGES:
        name = next(
            name
            for name, entry in template["Resources"].items()
            if entry["Type"] == change.kind and (change.key in entry["Properties"] or change.key in _ADDED)
        )
        properties = template["Resources"][name]["Properties"]
        properties[change.key] = change.value(properties.get(change.key))
        logical_ids[change.kind] = name
    stack = account.change("update_stack", template)
    assert stack["StackStatus"] == "UPDATE_COMPLETE", account.failures(stack)
    after = physical(account)
    processed = {name: _resolved(template["Resources"][name]["Properties"], after) for name in logical_ids.values()}
    yield Changed(account, before, after, logical_ids, processed)
    assert account.change("update_stack", original)["StackStatus"] == "UPDATE_COMPLETE"


# Properties that the template leaves to their defaults.
_ADDED = {"DisplayName", "Status", "Description", "MessageRetentionPeriod"}


def _resolved(properties: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """Properties in which a `Ref` to a resource is its id."""

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return ids[value["Ref"]] if value.keys() == {"Ref"} and value["Ref"] in ids else value
        return [resolve(entry) for entry in value] if isinstance(value, list) else value

    return {name: resolve(value) for name, value in properties.items()}


@pytest.mark.parametrize("change", CHANGES, ids=[change.kind.removeprefix("AWS::") for change in CHANGES])
def test_a_changed_property_is_changed_in_the_resource_that_is_there(changed: Changed, change: Change) -> None:
    assert changed.shown(change) == change.expected
    logical_id = changed.logical_ids[change.kind]
    assert changed.after[logical_id] == changed.before[logical_id]
