"""Every output and parameter holds the attribute it is named after."""

from __future__ import annotations

import pytest

from tests import synthesis
from tests.synthesis import ACCOUNT, REGION, Template


def logical(template: Template, resource_type: str, path: str = "") -> str:
    return template.one(resource_type, path)[0]


NLB, GROUP, PIPELINE, TOPIC = (
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::AutoScaling::AutoScalingGroup",
    "AWS::ImageBuilder::ImagePipeline",
    "AWS::SNS::Topic",
)
# Output: the type and place of a resource, and the form of its value.
RESOURCES = {
    "ProxyHost": (NLB, "ProxyFleet", "<{}.DNSName>"),
    "ProxyUrl": (NLB, "ProxyFleet", "wss://<{}.DNSName>:10000/"),
    "BackendHost": (NLB, "MockServers", "<{}.DNSName>"),
    "ProxyIssuer": (NLB, "MockServers", "http://<{}.DNSName>:10080/awsexample"),
    "StateMachineArn": ("AWS::StepFunctions::StateMachine", "", "<{}>"),  # Ref of a state machine is its ARN
    "ProxyGroupName": (GROUP, "ProxyFleet", "<{}>"),
    "MockServersGroupName": (GROUP, "MockServers", "<{}>"),
    "ApplicationGroupId": ("AWS::EC2::SecurityGroup", "Applications", "<{}.GroupId>"),
    "SecureProxyPipelineArn": (PIPELINE, "SecureProxyImage", "<{}.Arn>"),
    "MockServersPipelineArn": (PIPELINE, "MockServersImage", "<{}.Arn>"),
    "AccessLogBucketName": ("AWS::S3::Bucket", "AccessLogs", "<{}>"),
    "FailuresTopicArn": (TOPIC, "Failures", "<{}>"),  # Ref of a topic is its ARN
    "ScalingEventsTopicArn": (TOPIC, "ScalingEvents", "<{}>"),
    "AttentionQueueUrl": ("AWS::SQS::Queue", "Attention", "<{}>"),  # Ref of a queue is its URL
    "ProxyLogGroupName": ("AWS::Logs::LogGroup", "ProxyLogs", "<{}>"),
    "DashboardName": ("AWS::CloudWatch::Dashboard", "", "<{}>"),
}
LITERALS = {"ProxyWssPort": "10000", "ProxyOAuthPort": "11080"}
PARAMETERS = {
    "/secure-proxy/proxy/host": "ProxyHost",
    "/secure-proxy/proxy/wss-port": "ProxyWssPort",
    "/secure-proxy/proxy/oauth-port": "ProxyOAuthPort",
    "/secure-proxy/proxy/issuer": "ProxyIssuer",
    "/secure-proxy/backend/host": "BackendHost",
    "/secure-proxy/workflow/state-machine-arn": "StateMachineArn",
}


def test_these_are_all_outputs(template: Template) -> None:
    assert template.document["Outputs"].keys() == RESOURCES.keys() | LITERALS.keys()


@pytest.mark.parametrize("name", RESOURCES)
def test_an_output_holds_what_its_name_says(template: Template, name: str) -> None:
    resource_type, path, form = RESOURCES[name]
    value = template.resolve(template.document["Outputs"][name]["Value"])
    assert value == form.format(logical(template, resource_type, path))


@pytest.mark.parametrize("name", LITERALS)
def test_an_output_holds_the_setting(template: Template, name: str) -> None:
    assert template.document["Outputs"][name]["Value"] == LITERALS[name]


def test_outputs_are_described_and_exported_under_their_names(template: Template) -> None:
    for name, output in template.document["Outputs"].items():
        assert output["Export"]["Name"] == f"EC2ImageBuilderSecureProxy-{name}"
        assert output["Description"]


def test_parameters_hold_what_outputs_do(template: Template) -> None:
    outputs = template.document["Outputs"]
    held = {
        entry["Properties"]["Name"]: entry["Properties"]["Value"]
        for entry in template.of_type("AWS::SSM::Parameter").values()
    }
    assert held == {name: outputs[output]["Value"] for name, output in PARAMETERS.items()}


def test_all_parameters_lie_below_the_prefix_of_the_settings() -> None:
    template = synthesis.template(**{"projectSettings.ssm.projectPrefix": "another"})
    names = [entry["Properties"]["Name"] for entry in template.of_type("AWS::SSM::Parameter").values()]
    names += template.one("Custom::ImageParameters")[1]["ImageParameters"]
    assert len(names) == 8
    assert all(name.startswith("/another/") for name in names)


def test_the_prefix_of_the_settings_begins_the_names_of_load_balancers() -> None:
    template = synthesis.template(**{"projectSettings.elb.namePrefix": "another"})
    names = {
        entry["Properties"]["Name"]
        for resource_type in (NLB, "AWS::ElasticLoadBalancingV2::TargetGroup")
        for entry in template.of_type(resource_type).values()
    }
    assert names == {"another-public", "another-internal", *(f"another-{port}" for port in (10000, 11080, 9000, 10080))}


def test_an_e_mail_address_is_subscribed_to_failures_alone() -> None:
    template = synthesis.template(**{"projectSettings.imagebuilder.imageBuilderEmailAddress": "ops@secureproxy.dev"})
    _, subscription = template.one("AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@secureproxy.dev")
    assert subscription["TopicArn"] == {"Ref": logical(template, TOPIC, "Failures")}


def test_a_placeholder_address_is_not_subscribed(template: Template) -> None:
    assert template.of_type("AWS::SNS::Subscription") == {}


def test_topics_take_messages_over_tls_alone_and_alarms_of_this_account(template: Template) -> None:
    for name in ("Failures", "ScalingEvents"):
        _, policy = template.one("AWS::SNS::TopicPolicy", name)
        statements = template.resolve(policy["PolicyDocument"]["Statement"])
        assert any(s["Effect"] == "Deny" and "SecureTransport" in str(s["Condition"]) for s in statements)
        for statement in statements:
            if statement["Effect"] == "Allow":
                assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
                assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_the_queue_takes_failed_builds_from_our_rule_alone(template: Template) -> None:
    rule_id, rule = template.one("AWS::Events::Rule")
    _, policy = template.one("AWS::SQS::QueuePolicy")
    allowed = [s for s in template.resolve(policy["PolicyDocument"]["Statement"]) if s["Effect"] == "Allow"]
    assert [s["Principal"] for s in allowed] == [{"Service": "events.amazonaws.com"}]
    assert allowed[0]["Condition"] == {"ArnEquals": {"aws:SourceArn": f"<{rule_id}.Arn>"}}
    pattern = template.resolve(rule["EventPattern"])
    assert pattern["resources"] == [{"prefix": f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image/secure-proxy"}]
