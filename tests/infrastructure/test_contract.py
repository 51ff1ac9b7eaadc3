"""What docs/operations.md says that a deployment makes known is what it makes known."""

from __future__ import annotations

import json
import re

from stacks.names import METRICS_NAMESPACE, MOCK_SERVERS_IMAGE, SECURE_PROXY_IMAGE, ParameterNames
from tests.components.component_support import COMPONENT, PARAMETERS, ROOTFS, load_program
from tests.synthesis import REPOSITORY, Template

AGENT = (ROOTFS / "opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json").read_text()


def named(heading: str) -> set[str]:
    """What the first column of the table under `heading` names."""
    _, _, section = (REPOSITORY / "docs/operations.md").read_text().partition("## What a deployment makes known")
    table = section.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_outputs(template: Template) -> None:
    assert named("Output") == set(template.document["Outputs"])


def test_parameters(template: Template) -> None:
    made = {entry["Properties"]["Name"] for entry in template.of_type("AWS::SSM::Parameter").values()}
    names = ParameterNames("secure-proxy")
    published = {names.image(image) for image in (SECURE_PROXY_IMAGE, MOCK_SERVERS_IMAGE)}
    assert named("Parameter") == made | published


def test_metrics(template: Template) -> None:
    program = load_program(COMPONENT / "metrics/nginx_metrics.py", "nginx_metrics")
    filters = [entry["Properties"] for entry in template.of_type("AWS::Logs::MetricFilter").values()]
    counted = [entry for properties in filters for entry in properties["MetricTransformations"]]
    (processes,) = json.loads(AGENT)["metrics"]["metrics_collected"]["procstat"]
    assert {entry["MetricNamespace"] for entry in counted} == {METRICS_NAMESPACE}
    assert named("Metric") == {
        *program.METRICS.values(),
        program.CERTIFICATE_METRIC,
        *(entry["MetricName"] for entry in counted),
        *processes["measurement"],
    }


def test_log_streams() -> None:
    files = json.loads(AGENT)["logs"]["logs_collected"]["files"]["collect_list"]
    streams = {file["log_stream_name"].replace("{instance_id}", "INSTANCE") for file in files}
    for name in ("JAIL_BASE_DIR", "PROXY_BASE_DIR"):
        streams = {stream.replace(f"@{name}@", PARAMETERS[name]) for stream in streams}
    assert named("Stream") == streams
