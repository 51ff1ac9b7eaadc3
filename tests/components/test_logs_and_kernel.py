"""Log shipping, rotation and kernel settings: what they name is what the configuration and the design say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.components.component_support import COMPONENT, PARAMETERS, ROOTFS, install_rendered

AGENT = ROOTFS / "opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json"
ROTATION = ROOTFS / "etc/secure-proxy/logrotate.conf"
METRICS_LOG = "/var/log/secure-proxy/nginx-metrics.log"


def rendered(source: Path, directory: Path) -> str:
    target = directory / source.name
    names = set(re.findall(r"@([A-Z_]+)@", source.read_text()))
    result = install_rendered(source, target, {name: PARAMETERS[name] for name in names})
    assert result.returncode == 0, result.stderr
    return target.read_text()


@pytest.fixture
def agent(tmp_path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(rendered(AGENT, tmp_path))
    return document


def collected(agent: dict[str, Any]) -> list[dict[str, str]]:
    files: list[dict[str, str]] = agent["logs"]["logs_collected"]["files"]["collect_list"]
    return files


def logs_of_the_templates() -> set[str]:
    text = "".join(path.read_text() for path in (COMPONENT / "nginx").rglob("*.template"))
    return set(re.findall(r"\$\{PROXY_BASE_DIR\}(/logs/[a-z-]+\.log)", text))


def test_agent_ships_every_log_that_nginx_writes_and_the_metrics(agent: dict[str, Any]) -> None:
    expected = {f"/nginx/etc/nginx{name}" for name in logs_of_the_templates()} | {METRICS_LOG}
    assert {entry["file_path"] for entry in collected(agent)} == expected


def test_each_log_has_a_stream_of_its_instance_and_path(agent: dict[str, Any]) -> None:
    for entry in collected(agent):
        assert entry["log_group_name"] == "SecureProxy"
        assert entry["log_stream_name"] == "{instance_id}" + entry["file_path"]


def test_agent_measures_the_nginx_processes(agent: dict[str, Any]) -> None:
    (process,) = agent["metrics"]["metrics_collected"]["procstat"]
    assert process["measurement"] == [
        "cpu_usage", "memory_rss", "memory_vms", "read_bytes", "write_bytes", "read_count", "write_count",
    ]  # fmt: skip
    assert re.search(process["exe"], "nginx")
    assert not re.search(process["exe"], "nginx-metrics")


def test_rotation_covers_every_shipped_log(agent: dict[str, Any], tmp_path: Path) -> None:
    text = rendered(ROTATION, tmp_path)
    patterns = re.findall(r"(?m)^(/\S+) \{$", text)
    for entry in collected(agent):
        assert any(Path(entry["file_path"]).match(pattern) for pattern in patterns), entry["file_path"]


def test_rotated_logs_are_reopened_without_ending_sessions(tmp_path: Path) -> None:
    text = rendered(ROTATION, tmp_path)
    assert "--signal=USR1 nginx.service" in text
    assert "reload" not in text


def test_a_day_s_logs_do_not_fill_the_disk(agent: dict[str, Any], tmp_path: Path) -> None:
    """Each log's newest file and the one before it are not compressed; the others shrink to a fifth at least."""
    text = rendered(ROTATION, tmp_path)
    blocks = re.findall(r"(?ms)^(/\S+) \{$(.*?)^\}$", text)
    assert len(blocks) == 2
    total = 0.0
    for pattern, block in blocks:
        (largest,) = re.findall(r"^  maxsize (\d+)M$", block, re.MULTILINE)
        (kept,) = re.findall(r"^  rotate (\d+)$", block, re.MULTILINE)
        logs = sum(Path(entry["file_path"]).match(pattern) for entry in collected(agent))
        total += logs * int(largest) * (2 + (int(kept) - 1) / 5)
    assert total < 4096, "MB; the smallest volume has 8 GB"


def test_sizes_are_looked_at_every_few_minutes() -> None:
    timer = (ROOTFS / "etc/systemd/system/secure-proxy-logrotate.timer").read_text()
    assert re.findall(r"(?m)^On\w+=(.*)$", timer) == ["5min", "5min"]
    service = (ROOTFS / "etc/systemd/system/secure-proxy-logrotate.service").read_text()
    assert "/etc/secure-proxy/logrotate.conf\n" in service
    assert (
        '"$ROOTFS/etc/secure-proxy/logrotate.conf" /etc/secure-proxy/logrotate.conf'
        in (COMPONENT / "install/70-logs.sh").read_text()
    )
    assert not list((ROOTFS / "etc").glob("logrotate.d/*")), "the distribution's timer would rotate the same logs"


def test_listeners_are_kept_out_of_the_ephemeral_ports(tmp_path: Path) -> None:
    text = rendered(ROOTFS / "etc/sysctl.d/60-secure-proxy.conf", tmp_path)
    values = dict(re.findall(r"(?m)^-?([a-z0-9_.]+) = (.+)$", text))
    assert values["net.ipv4.ip_local_port_range"] == "32768 61000"
    assert values["net.ipv4.ip_local_reserved_ports"] == "10000,11080,8080"
