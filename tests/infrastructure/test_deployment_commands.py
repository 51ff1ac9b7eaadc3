"""What `python -m deployment` takes for granted of the stack."""

from __future__ import annotations

import json

import pytest

from deployment.certificates import _STREAM
from deployment.facilities import RESERVING_FUNCTIONS
from stacks.names import (
    ADMITTED_CIDR,
    IMAGE_SCANNING,
    PROXY_GROUP_OUTPUT,
    PROXY_LOG_GROUP_OUTPUT,
    RESERVED_CONCURRENCY,
)
from tests.components.component_support import COMPONENT
from tests.synthesis import Template, template


@pytest.fixture(scope="module")
def stack() -> Template:
    return template()


def test_every_parameter_of_the_stack_is_one_that_is_given(stack: Template) -> None:
    ours = set(stack.document["Parameters"]) - {"BootstrapVersion"}
    assert ours == {ADMITTED_CIDR, IMAGE_SCANNING, RESERVED_CONCURRENCY}


def test_as_many_functions_reserve_an_execution_as_the_quota_is_asked_for(stack: Template) -> None:
    functions = stack.of_type("AWS::Lambda::Function").values()
    reserving = [entry for entry in functions if "ReservedConcurrentExecutions" in entry["Properties"]]
    assert len(reserving) == RESERVING_FUNCTIONS


def test_nothing_is_retained_that_would_have_to_be_removed_by_hand(stack: Template) -> None:
    kept = [name for name, entry in stack.resources.items() if entry.get("DeletionPolicy", "Delete") != "Delete"]
    assert kept == []


def test_group_and_log_group_of_the_proxies_are_outputs(stack: Template) -> None:
    outputs = stack.document["Outputs"]
    (group, _) = stack.one("AWS::AutoScaling::AutoScalingGroup", "ProxyFleet")
    assert outputs[PROXY_GROUP_OUTPUT]["Value"] == {"Ref": group}
    (log_group, _) = stack.one("AWS::Logs::LogGroup", "ProxyLogs")
    assert outputs[PROXY_LOG_GROUP_OUTPUT]["Value"] == {"Ref": log_group}


def test_the_certificate_is_looked_for_where_the_agent_ships_the_metrics_record() -> None:
    path = "rootfs/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json"
    agent = json.loads((COMPONENT / path).read_text(encoding="utf-8"))
    streams = [entry["log_stream_name"] for entry in agent["logs"]["logs_collected"]["files"]["collect_list"]]
    assert _STREAM.format(instance="{instance_id}") in streams
