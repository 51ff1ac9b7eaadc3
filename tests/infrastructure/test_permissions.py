"""Who may do what on which resource."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import boto3
import pytest

from lambdas import (
    begin_deployment,
    check_health,
    check_image_builds,
    end_rollout,
    launch_fleet,
    publish_images,
    roll_back,
    start_image_builds,
)
from tests.infrastructure.permissions import all_statements, role_of_function, statements_of_role
from tests.synthesis import ACCOUNT, REGION, Template
from tests.unit.lambdas import scenarios_fleet, scenarios_images

# What AWS asks for besides the permission for a call itself.
IMPLIED = {
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-ec2-aliases.html
    "ssm:PutParameter": {"ec2:DescribeImages"},
    # https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html
    "autoscaling:StartInstanceRefresh": {"ssm:GetParameters"},
    "autoscaling:UpdateAutoScalingGroup": {"ssm:GetParameters"},
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2imagebuilder.html
    "imagebuilder:StartImagePipelineExecution": {"imagebuilder:GetImagePipeline"},
}
# boto3's name of a service to IAM's, where they differ.
PREFIXES = {"stepfunctions": "states", "elbv2": "elasticloadbalancing"}
# What a function needs to run at all: logs, the dead-letter queue, the network.
RUNTIME = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:SendMessage",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}
SEEDER = {"ssm:GetParameters", "ssm:PutParameter", "ssm:DeleteParameters", "ec2:DescribeImages"}

PIPELINES = {"<MockServersImagePipeline.Arn>", "<SecureProxyImagePipeline.Arn>"}
IMAGE_PARAMETERS = {
    f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/secure-proxy/images/{name}"
    for name in ("secure-proxy", "secure-proxy-mock-servers")
}


def calls_of_handlers() -> dict[str, set[str]]:
    """By module of the handler: the IAM actions of all calls that its scenarios make, and what these imply."""
    calls: dict[str, set[str]] = defaultdict(set)
    for scenario in (*scenarios_images.SCENARIOS, *scenarios_fleet.SCENARIOS):
        for call in scenario.calls:
            operation = "".join(word.capitalize() for word in call.operation.split("_"))
            action = f"{PREFIXES.get(call.service, call.service)}:{operation}"
            calls[scenario.handler.__module__] |= {action} | IMPLIED.get(action, set())
    return calls


def function_of(template: Template, path: str) -> str:
    return template.one("AWS::Lambda::Function", path)[0]


def actions_of_role(template: Template, role_id: str) -> set[str]:
    return {action for statement in statements_of_role(template, role_id) for action in statement.actions}


def resources_of_action(template: Template, path: str, action: str) -> set[str]:
    """On what the function at `path` may do `action`; logical ids without their hash."""
    role = role_of_function(template, function_of(template, path))
    return {
        readable(resource)
        for statement in statements_of_role(template, role)
        if action in statement.actions
        for resource in statement.resources
    }


def readable(resource: str) -> str:
    """`<Name1A2B3C4D.Arn>` without the CDK's hash."""
    if not resource.startswith("<"):
        return resource
    name, _, attribute = resource.strip("<>").partition(".")
    return f"<{name[:-8]}.{attribute}>" if attribute else f"<{name[:-8]}>"


@pytest.mark.parametrize(
    ("path", "handler"),
    [
        ("Functions/BeginDeployment/", begin_deployment),
        ("Functions/StartImageBuilds/", start_image_builds),
        ("Functions/CheckImageBuilds/", check_image_builds),
        ("Functions/PublishImages/", publish_images),
        ("Functions/LaunchMockServers/", launch_fleet),
        ("Functions/LaunchSecureProxy/", launch_fleet),
        ("Functions/CheckHealth/", check_health),
        ("Functions/EndRollout/", end_rollout),
        ("Functions/RollBack/", roll_back),
    ],
    ids=lambda value: value.strip("/") if isinstance(value, str) else "",
)
def test_a_function_may_do_exactly_what_its_handler_does(template: Template, path: str, handler: object) -> None:
    function_id = function_of(template, path)
    module = handler.__name__  # type: ignore[attr-defined]
    assert template.resources[function_id]["Properties"]["Handler"] == f"{module}.handler"
    allowed = actions_of_role(template, role_of_function(template, function_id))
    assert allowed - RUNTIME == calls_of_handlers()[module]
    assert allowed >= RUNTIME


def test_the_seeder_may_do_exactly_what_it_does(template: Template) -> None:
    role = role_of_function(template, function_of(template, "Seeder/"))
    assert actions_of_role(template, role) - RUNTIME == SEEDER


def test_every_function_has_a_role_of_its_own(template: Template) -> None:
    functions = template.of_type("AWS::Lambda::Function")
    roles = [role_of_function(template, function_id) for function_id in functions]
    assert len(set(roles)) == len(functions) == 10


@pytest.mark.parametrize(
    ("path", "action", "resources"),
    [
        (
            "Functions/BeginDeployment/",
            "states:ListExecutions",
            {f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:SecureProxyDeployment"},
        ),
        ("Functions/BeginDeployment/", "ssm:GetParameters", IMAGE_PARAMETERS),
        ("Functions/StartImageBuilds/", "imagebuilder:StartImagePipelineExecution", PIPELINES),
        ("Functions/CheckImageBuilds/", "imagebuilder:ListImagePipelineImages", PIPELINES),
        ("Functions/PublishImages/", "ssm:PutParameter", IMAGE_PARAMETERS),
        (
            "Functions/LaunchMockServers/",
            "autoscaling:StartInstanceRefresh",
            {"<MockServersMachinesGroup.AutoScalingGroupARN>"},
        ),
        (
            "Functions/LaunchSecureProxy/",
            "autoscaling:UpdateAutoScalingGroup",
            {"<ProxyFleetMachinesGroup.AutoScalingGroupARN>"},
        ),
        (
            "Functions/LaunchSecureProxy/",
            "ssm:GetParameters",
            {f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/secure-proxy/images/secure-proxy"},
        ),
        (
            "Functions/EndRollout/",
            "autoscaling:UpdateAutoScalingGroup",
            {"<MockServersMachinesGroup.AutoScalingGroupARN>", "<ProxyFleetMachinesGroup.AutoScalingGroupARN>"},
        ),
        (
            "Functions/RollBack/",
            "autoscaling:StartInstanceRefresh",
            {"<MockServersMachinesGroup.AutoScalingGroupARN>", "<ProxyFleetMachinesGroup.AutoScalingGroupARN>"},
        ),
        (
            "Functions/RollBack/",
            "autoscaling:UpdateAutoScalingGroup",
            {"<MockServersMachinesGroup.AutoScalingGroupARN>", "<ProxyFleetMachinesGroup.AutoScalingGroupARN>"},
        ),
        (
            "Functions/RollBack/",
            "imagebuilder:CancelImageCreation",
            {f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image/secure-proxy*"},
        ),
        ("Seeder/", "ssm:DeleteParameters", IMAGE_PARAMETERS),
    ],
)
def test_a_function_acts_on_its_own_resources_alone(
    template: Template, path: str, action: str, resources: set[str]
) -> None:
    assert resources_of_action(template, path, action) == resources


def test_the_state_machine_calls_its_functions_and_nothing_else(template: Template) -> None:
    _, machine = template.one("AWS::StepFunctions::StateMachine")
    role = machine["RoleArn"]["Fn::GetAtt"][0]
    invoked = {
        resource
        for statement in statements_of_role(template, role)
        if "lambda:InvokeFunction" in statement.actions
        for resource in statement.resources
    }
    functions = {
        f"<{name}.Arn>" for name in template.of_type("AWS::Lambda::Function") if "Seeder" not in template.path(name)
    }
    assert invoked == functions


def test_pass_role_names_one_role_and_its_service(template: Template) -> None:
    """Nothing in the stack passes a role today; whoever adds a statement must name the role and who gets it."""
    for statement in all_statements(template):
        if any(action.lower() in ("iam:passrole", "iam:*", "*") for action in statement.actions):
            assert len(statement.resources) == 1
            assert "*" not in statement.resources[0]
            assert "iam:PassedToService" in str(statement.conditions)


def test_no_action_is_a_wildcard(template: Template) -> None:
    assert [s for s in all_statements(template) if any("*" in action for action in s.actions)] == []


def test_every_wildcard_resource_is_accepted_with_a_reason(template: Template) -> None:
    for statement in all_statements(template):
        if any("*" in resource for resource in statement.resources):
            assert template.resources[statement.policy]["Metadata"]["AcceptedFindings"], statement


def test_no_statement_excludes_instead_of_naming(template: Template) -> None:
    for logical_id, node in template.walk():
        if isinstance(node, dict) and "Effect" in node:
            assert not {"NotAction", "NotResource", "NotPrincipal"} & node.keys(), logical_id


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("DeploymentWorkflow/Role", "states.amazonaws.com"),
        ("DeploymentWorkflow/Functions/", "lambda.amazonaws.com"),
        ("ImageParameters/SeederRole", "lambda.amazonaws.com"),
        ("ProxyFleet/Role", "ec2.amazonaws.com"),
        ("MockServers/Role", "ec2.amazonaws.com"),
        ("BuildInstances/Role", "ec2.amazonaws.com"),
        ("BuildInstances/LifecycleRole", "imagebuilder.amazonaws.com"),
        ("Network/FlowLogRole", "vpc-flow-logs.amazonaws.com"),
    ],
)
def test_a_role_is_assumed_by_its_service_alone(template: Template, path: str, service: str) -> None:
    roles = [entry for name, entry in template.of_type("AWS::IAM::Role").items() if path in template.path(name)]
    assert roles
    for role in roles:
        (statement,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Action"] == "sts:AssumeRole"
        assert statement["Principal"] == {"Service": service}


def test_proxies_may_write_their_log_group_and_nothing_of_others(template: Template) -> None:
    role, _ = template.one("AWS::IAM::Role", "ProxyFleet/Role")
    written = {
        readable(resource)
        for statement in statements_of_role(template, role)
        if "logs:PutLogEvents" in statement.actions
        for resource in statement.resources
    }
    assert written == {"<ProxyLogs.Arn>"}


def test_metrics_go_to_one_namespace(template: Template) -> None:
    for statement in all_statements(template):
        if "cloudwatch:PutMetricData" in statement.actions:
            assert statement.conditions == {"StringEquals": {"cloudwatch:namespace": "NGINX"}}


def test_mock_servers_may_do_no_more_than_be_managed(template: Template) -> None:
    role, _ = template.one("AWS::IAM::Role", "MockServers/Role")
    services = {action.split(":")[0] for action in actions_of_role(template, role)}
    assert services == {"ssm", "ssmmessages", "cloudwatch"}


def test_build_instances_read_the_two_component_directories_and_no_other_object_of_ours(template: Template) -> None:
    role, _ = template.one("AWS::IAM::Role", "BuildInstances/Role")
    objects = {
        resource
        for statement in statements_of_role(template, role)
        if "s3:GetObject" in statement.actions
        for resource in statement.resources
        if "cdk-" in resource
    }
    assert len(objects) == 2
    assert all(resource.endswith(".zip") and "*" not in resource for resource in objects)


class TestKey:
    """The one encryption key."""

    def statements(self, template: Template) -> list[dict[str, Any]]:
        _, key = template.one("AWS::KMS::Key")
        statements: list[dict[str, Any]] = template.resolve(key["KeyPolicy"]["Statement"])
        return statements

    def test_it_rotates(self, template: Template) -> None:
        assert template.one("AWS::KMS::Key")[1]["EnableKeyRotation"] is True

    def test_it_is_made_when_its_role_has_had_time_to_become_known(self, template: Template) -> None:
        logical_id, _ = template.one("AWS::KMS::Key")
        waited_for = {template.resources[name]["Type"] for name in template.resources[logical_id]["DependsOn"]}
        assert waited_for == {"AWS::IAM::ServiceLinkedRole", "AWS::EC2::NatGateway"}

    def test_the_account_administers_it(self, template: Template) -> None:
        admins = [s for s in self.statements(template) if s["Action"] == "kms:*"]
        assert [s["Principal"] for s in admins] == [{"AWS": f"arn:aws:iam::{ACCOUNT}:root"}]

    def test_services_use_it_for_this_account_alone(self, template: Template) -> None:
        for statement in self.statements(template):
            if "Service" in statement["Principal"]:
                assert ACCOUNT in str(statement["Condition"])

    def test_grants_are_for_resources_of_aws_alone(self, template: Template) -> None:
        granting = [s for s in self.statements(template) if "kms:CreateGrant" in str(s["Action"])]
        assert [s["Condition"] for s in granting] == [{"Bool": {"kms:GrantIsForAWSResource": "true"}}]

    def test_the_name_of_that_role_is_one_for_each_region_and_short_enough(self, template: Template) -> None:
        """IAM knows no regions: a second one would find the first one's role. Names of roles have 64 characters."""
        _, role = template.one("AWS::IAM::ServiceLinkedRole")
        assert {"Ref": "AWS::Region"} in role["CustomSuffix"]["Fn::Join"][1]
        beside = template.resolve(role["CustomSuffix"]).removesuffix(REGION)
        session = boto3.Session()
        longest = max(
            (
                region
                for partition in session.get_available_partitions()
                for region in session.get_available_regions("autoscaling", partition)
            ),
            key=len,
        )
        assert len(f"AWSServiceRoleForAutoScaling_{beside}{longest}") <= 64

    def test_auto_scaling_uses_it_through_a_role_that_the_stack_makes(self, template: Template) -> None:
        _, role = template.one("AWS::IAM::ServiceLinkedRole")
        arn = f"AWSServiceRoleForAutoScaling_{template.resolve(role['CustomSuffix'])}"
        assert any(arn in str(statement["Principal"]) for statement in self.statements(template))
        for group in template.of_type("AWS::AutoScaling::AutoScalingGroup").values():
            assert template.resolve(group["Properties"]["ServiceLinkedRoleARN"]).endswith(arn)


@pytest.mark.parametrize(
    ("resource_type", "key"),
    [
        ("AWS::IAM::Role", "RoleName"),
        ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"),
        ("AWS::IAM::InstanceProfile", "InstanceProfileName"),
        ("AWS::S3::Bucket", "BucketName"),
    ],
)
def test_no_name_is_chosen_where_regions_share_them(template: Template, resource_type: str, key: str) -> None:
    found = template.of_type(resource_type).values()
    assert found
    assert not any(key in entry["Properties"] for entry in found)
