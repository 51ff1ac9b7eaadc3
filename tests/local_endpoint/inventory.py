"""All that a stack of ours makes in an account, as each service lists it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local.endpoint.account import ACCOUNT

# Type in the template: service, operation, where the entries are in the answer, and what names one.
_LISTED: dict[str, tuple[str, str, str, str]] = {
    "AWS::AutoScaling::AutoScalingGroup": (
        "autoscaling",
        "describe_auto_scaling_groups",
        "AutoScalingGroups",
        "AutoScalingGroupName",
    ),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "AWS::CloudWatch::Dashboard": ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    "AWS::EC2::EIP": ("ec2", "describe_addresses", "Addresses", "PublicIp"),
    "AWS::EC2::FlowLog": ("ec2", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    "AWS::EC2::InternetGateway": ("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "AWS::EC2::LaunchTemplate": ("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    "AWS::EC2::NatGateway": ("ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId"),
    "AWS::EC2::PrefixList": ("ec2", "describe_managed_prefix_lists", "PrefixLists", "PrefixListId"),
    "AWS::EC2::RouteTable": ("ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    "AWS::EC2::SecurityGroup": ("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    "AWS::EC2::Subnet": ("ec2", "describe_subnets", "Subnets", "SubnetId"),
    "AWS::EC2::VPC": ("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    "AWS::EC2::VPCEndpoint": ("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (
        "elbv2",
        "describe_load_balancers",
        "LoadBalancers",
        "LoadBalancerArn",
    ),
    "AWS::ElasticLoadBalancingV2::TargetGroup": ("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn"),
    "AWS::Events::Rule": ("events", "list_rules", "Rules", "Name"),
    "AWS::IAM::InstanceProfile": ("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    "AWS::IAM::Role": ("iam", "list_roles", "Roles", "RoleName"),
    "AWS::KMS::Alias": ("kms", "list_aliases", "Aliases", "AliasName"),
    "AWS::Lambda::Function": ("lambda", "list_functions", "Functions", "FunctionName"),
    "AWS::Logs::LogGroup": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "AWS::Logs::MetricFilter": ("logs", "describe_metric_filters", "metricFilters", "filterName"),
    "AWS::S3::Bucket": ("s3", "list_buckets", "Buckets", "Name"),
    "AWS::SNS::Topic": ("sns", "list_topics", "Topics", "TopicArn"),
    "AWS::SQS::Queue": ("sqs", "list_queues", "QueueUrls", ""),
    "AWS::SSM::Parameter": ("ssm", "describe_parameters", "Parameters", "Name"),
    "AWS::StepFunctions::StateMachine": ("stepfunctions", "list_state_machines", "stateMachines", "name"),
}
# What services go on listing for a while after it was deleted.
_GONE = ("deleted", "delete-complete")


def inventory(client: Callable[[str], Any]) -> dict[str, set[str]]:
    """The names or ids of what there is, by type."""
    found = {
        kind: {
            str(entry[name] if name else entry)
            for page in client(service).get_paginator(operation).paginate()
            for entry in page.get(entries, [])
            if not name or str(entry.get("State", "")).lower() not in _GONE
        }
        for kind, (service, operation, entries, name) in _LISTED.items()
        if client(service).can_paginate(operation)
    }
    for kind, (service, operation, entries, name) in _LISTED.items():
        if kind not in found:
            found[kind] = {str(entry[name]) for entry in getattr(client(service), operation)()[entries]}
    found["AWS::IAM::ManagedPolicy"] = _own_policies(client)
    found["AWS::KMS::Key"] = _usable_keys(client)
    found["AWS::KMS::Alias"] = {name for name in found["AWS::KMS::Alias"] if not name.startswith("alias/aws/")}
    found["AWS::ElasticLoadBalancingV2::Listener"] = _listeners(client, found)
    return found


def _own_policies(client: Callable[[str], Any]) -> set[str]:
    pages = client("iam").get_paginator("list_policies").paginate(Scope="Local")
    return {policy["Arn"] for page in pages for policy in page["Policies"] if ACCOUNT in policy["Arn"]}


def _usable_keys(client: Callable[[str], Any]) -> set[str]:
    keys = [entry["KeyId"] for entry in client("kms").list_keys()["Keys"]]
    states = {key: client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] for key in keys}
    return {key for key, state in states.items() if state == "Enabled"}


def _listeners(client: Callable[[str], Any], found: dict[str, set[str]]) -> set[str]:
    return {
        listener["ListenerArn"]
        for balancer in found["AWS::ElasticLoadBalancingV2::LoadBalancer"]
        for listener in client("elbv2").describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    }
