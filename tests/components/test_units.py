"""The systemd units as they ship: the sandbox around NGINX, its restart and stop rules, and the metrics timer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.components.component_support import INSTALL, PARAMETERS, ROOTFS, install_rendered

MAX_EXPOSURE = 2.5
PROXY_UNIT = "nginx/etc/systemd/system/nginx.service"
PLACEHOLDERS = {**PARAMETERS, "LIMIT_NOFILE": "33792"}
UNITS = sorted(path.relative_to(ROOTFS) for path in ROOTFS.rglob("*") if path.suffix in {".service", ".timer"})

Unit = dict[str, list[str]]


def rendered(unit: str | Path, directory: Path) -> Path:
    source = ROOTFS / unit
    names = set(re.findall(r"@([A-Z_]+)@", source.read_text()))
    target = directory / source.name
    result = install_rendered(source, target, {name: PLACEHOLDERS[name] for name in names})
    assert result.returncode == 0, result.stderr
    return target


def settings(path: Path) -> Unit:
    found: Unit = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def proxy(tmp_path: Path) -> Unit:
    return settings(rendered(PROXY_UNIT, tmp_path))


def exposure(path: Path) -> float:
    result = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert match, result.stderr
    return float(match.group(1))


def test_exposure_of_the_proxy_unit_that_ships(tmp_path: Path) -> None:
    assert exposure(rendered(PROXY_UNIT, tmp_path)) <= MAX_EXPOSURE


@pytest.mark.parametrize("name", ["metrics", "logrotate"])
def test_exposure_of_the_other_units_that_ship(tmp_path: Path, name: str) -> None:
    assert exposure(rendered(f"etc/systemd/system/secure-proxy-{name}.service", tmp_path)) <= MAX_EXPOSURE


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_every_placeholder_of_a_unit_has_a_value(unit: Path, tmp_path: Path) -> None:
    assert "@" not in re.sub(r"~?@[a-z-]+", "", rendered(unit, tmp_path).read_text())


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_the_service_script_installs_every_unit(unit: Path) -> None:
    assert unit.name in (INSTALL / "50-service.sh").read_text()


def test_nginx_runs_in_the_jail_and_in_the_foreground(proxy: Unit) -> None:
    assert proxy["RootDirectory"] == ["/nginx"]
    assert '"daemon off;"' in proxy["ExecStart"][0]


def test_nginx_waits_for_a_valid_configuration(proxy: Unit) -> None:
    assert "secure-proxy-configure.service" in proxy["Requires"][0]
    assert "secure-proxy-configure.service" in proxy["After"][0]


def test_reload_tests_the_configuration_first(proxy: Unit) -> None:
    assert proxy["ExecReload"][0].endswith(" -t -q")
    assert proxy["ExecReload"][1].endswith(" -s reload")


def test_nginx_is_restarted_always_and_soon(proxy: Unit) -> None:
    assert proxy["Restart"] == ["always"]
    assert proxy["RestartSec"] == ["1"]
    assert proxy["StartLimitIntervalSec"] == ["0"]


def test_stop_is_graceful_and_bounded(proxy: Unit) -> None:
    assert proxy["KillSignal"] == ["SIGQUIT"]
    assert proxy["KillMode"] == ["mixed"]
    assert int(proxy["TimeoutStopSec"][0]) > 30


def test_master_keeps_only_what_it_needs_to_make_workers(proxy: Unit) -> None:
    assert set(proxy["CapabilityBoundingSet"][0].split()) == {
        "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
    }  # fmt: skip
    assert proxy["AmbientCapabilities"] == [""]
    assert proxy["NoNewPrivileges"] == ["yes"]


def test_only_logs_cache_and_run_are_writable(proxy: Unit) -> None:
    assert proxy["ProtectSystem"] == ["strict"]
    assert proxy["ReadWritePaths"] == ["+/etc/nginx/logs +/var/cache/nginx +/run"]


def test_metadata_service_is_out_of_reach(proxy: Unit) -> None:
    assert {"169.254.169.254", "fd00:ec2::254"} <= set(proxy["IPAddressDeny"][0].split())


def test_luajit_may_write_code(proxy: Unit) -> None:
    assert "MemoryDenyWriteExecute" not in proxy


def test_metrics_unit_reaches_loopback_alone(tmp_path: Path) -> None:
    unit = settings(rendered("etc/systemd/system/secure-proxy-metrics.service", tmp_path))
    assert unit["IPAddressDeny"] == ["any"]
    assert unit["IPAddressAllow"] == ["localhost"]
    assert "http://127.0.0.1:8080/nginx_status" in unit["ExecStart"][0]
