"""Alarms that reach a person, on what users or operators would notice."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests import synthesis
from tests.synthesis import REPOSITORY, Template

ALARMS = [
    "UnhealthyPublicWss",
    "UnhealthyPublicOAuth",
    "UnhealthyInternalEcho",
    "UnhealthyInternalOAuth",
    "NoHealthyProxy",
    "WorkflowFailed",
    "NeedsAttention",
    "RejectionRate",
    "CertificateExpires",
]


def alarm(template: Template, name: str) -> dict[str, Any]:
    return template.one("AWS::CloudWatch::Alarm", f"/{name}/")[1]


def metrics_of(properties: dict[str, Any]) -> set[str]:
    """Names of the metrics that an alarm looks at."""
    if "MetricName" in properties:
        return {properties["MetricName"]}
    return {entry["MetricStat"]["Metric"]["MetricName"] for entry in properties["Metrics"] if "MetricStat" in entry}


def test_these_are_all_alarms(template: Template) -> None:
    assert len(template.of_type("AWS::CloudWatch::Alarm")) == len(ALARMS)


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_tells_the_topic_of_failures_when_it_begins_and_when_it_ends(template: Template, name: str) -> None:
    topic, _ = template.one("AWS::SNS::Topic", "Failures")
    properties = alarm(template, name)
    assert properties["AlarmActions"] == properties["OKActions"] == [{"Ref": topic}]
    assert properties["AlarmDescription"]
    assert properties["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("UnhealthyPublicWss", {"UnHealthyHostCount"}),
        ("NoHealthyProxy", {"HealthyHostCount", "GroupDesiredCapacity"}),
        ("WorkflowFailed", {"ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"}),
        ("NeedsAttention", {"ApproximateNumberOfMessagesVisible"}),
        ("RejectionRate", {"Rejected", "Requests"}),
        ("CertificateExpires", {"CertificateDaysLeft"}),
    ],
)
def test_what_an_alarm_looks_at(template: Template, name: str, metrics: set[str]) -> None:
    assert metrics_of(alarm(template, name)) == metrics


def test_the_end_of_revocation_lists_is_watched_where_there_are_any() -> None:
    pem = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"
    certificates = {
        "mode": "required",
        "caCertificates": [pem.format("CERTIFICATE")],
        "revocationLists": [pem.format("X509 CRL")],
    }
    with_lists = synthesis.template(
        **{"projectSettings.proxySettings.authentication.clientCertificates": json.dumps(certificates)}
    )
    properties = alarm(with_lists, "RevocationListExpires")
    assert metrics_of(properties) == {"RevocationListDaysLeft"}
    assert (properties["Statistic"], properties["Threshold"]) == ("Minimum", 3)
    assert properties["ComparisonOperator"] == "LessThanOrEqualToThreshold"


def test_no_healthy_proxy_is_no_alarm_while_none_is_wanted(template: Template) -> None:
    expression = next(e["Expression"] for e in alarm(template, "NoHealthyProxy")["Metrics"] if "Expression" in e)
    assert expression == "IF(FILL(wanted, 0) > 0 AND FILL(healthy, 0) < 1, 1, 0)"


def test_target_alarms_look_at_their_own_target_group(template: Template) -> None:
    for name, path in (
        ("UnhealthyPublicWss", "ProxyFleet/LoadBalancer/Wss/"),
        ("UnhealthyInternalOAuth", "MockServers/LoadBalancer/OAuth/"),
    ):
        (group,) = (entry["Value"] for entry in alarm(template, name)["Dimensions"] if entry["Name"] == "TargetGroup")
        assert path in template.path(group["Fn::GetAtt"][0])


class TestLogMetrics:
    """Metric filters against the access log as NGINX writes it."""

    def line(self, status: int) -> str:
        """A record in the format of the proxy's own template."""
        template = REPOSITORY / "components/secure_proxy/nginx/conf.d/logging.conf.template"
        (log_format,) = re.findall(r"log_format main(.*?);", template.read_text(encoding="utf-8"), re.DOTALL)
        text = "".join(re.findall(r"'([^']*)'", log_format))
        return re.sub(r"\$\w+", "x", text.replace("status=$status", f"status={status}"))

    def matches(self, template: Template, name: str, line: str) -> bool:
        """A pattern of one quoted text matches records that hold the text."""
        _, properties = template.one("AWS::Logs::MetricFilter", f"{name}Filter")
        pattern = properties["FilterPattern"]
        assert pattern.startswith('"')
        assert pattern.endswith('"')
        return pattern[1:-1] in line

    @pytest.mark.parametrize(("status", "rejected"), [(403, True), (101, False), (200, False), (401, False)])
    def test_a_refusal_is_counted_and_nothing_else(self, template: Template, status: int, rejected: bool) -> None:
        assert self.matches(template, "Rejected", self.line(status)) is rejected

    @pytest.mark.parametrize("status", [101, 200, 403, 502])
    def test_every_request_is_counted(self, template: Template, status: int) -> None:
        assert self.matches(template, "Requests", self.line(status))

    def test_the_upstreams_status_is_not_taken_for_ours(self, template: Template) -> None:
        line = self.line(200).replace("up_status=x", "up_status=403")
        assert not self.matches(template, "Rejected", line)

    def test_records_of_the_error_log_are_no_requests(self, template: Template) -> None:
        assert not self.matches(template, "Requests", "2026/01/01 00:00:00 [error] 1#1: *1 token refused")

    def test_they_read_the_proxies_log_group(self, template: Template) -> None:
        for entry in template.of_type("AWS::Logs::MetricFilter").values():
            group = template.resources[entry["Properties"]["LogGroupName"]["Ref"]]
            assert group["Properties"]["LogGroupName"] == "SecureProxy"


def test_the_dashboard_shows_alarms_health_and_errors(template: Template) -> None:
    _, dashboard = template.one("AWS::CloudWatch::Dashboard")
    body = json.loads(template.resolve(dashboard["DashboardBody"]))
    widgets = {widget["type"]: widget for widget in body["widgets"]}
    assert len(widgets["alarm"]["properties"]["alarms"]) == len(ALARMS)
    assert "SOURCE 'SecureProxy'" in widgets["log"]["properties"]["query"]
    shown = json.dumps(body)
    for metric in ("HealthyHostCount", "ConnectionsActive", "Rejected", "ActiveFlowCount", "ExecutionsFailed"):
        assert metric in shown
