"""The install scripts: their style, their checks of variables, and what they do with wrong parameters."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.components.component_support import (
    COMPONENT,
    INSTALL,
    NUMBERED,
    PARAMETERS,
    SCRIPTS,
    install_rendered,
    run_script,
)

PARAMETER_SCRIPT = INSTALL / "00-parameters.sh"
LIBRARIES = {"lib.sh", "packages.sh"}


def identifier(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


def parameter_arguments(**changes: str) -> list[str]:
    return [f"{name}={value}" for name, value in {**PARAMETERS, **changes}.items()]


def write_parameters(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_script(PARAMETER_SCRIPT, *arguments, environment={"IMAGE_ENV": str(target)})


@pytest.mark.parametrize("script", SCRIPTS, ids=identifier)
def test_shellcheck_finds_nothing(script: Path) -> None:
    result = subprocess.run(["shellcheck", "-x", str(script)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=identifier)
def test_shfmt_would_change_nothing(script: Path) -> None:
    result = subprocess.run(["shfmt", "-i", "2", "-ci", "-d", str(script)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.name not in LIBRARIES], ids=identifier)
def test_script_stops_at_the_first_error(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=identifier)
def test_no_file_is_written_from_a_heredoc(script: Path) -> None:
    assert not re.search(r"<<-?\s*['\"]?[A-Z]", script.read_text())


@pytest.mark.parametrize("script", NUMBERED, ids=identifier)
def test_only_the_package_library_knows_the_distribution(script: Path) -> None:
    assert not re.search(r"\b(apt-get|apt-mark|dpkg|dnf|rpm)\b", script.read_text())


def variables_used(script: Path) -> set[str]:
    text = re.sub(r"(?m)^\s*#.*$|'[^']*'", "", script.read_text())
    return {name for name in PARAMETERS if re.search(rf"\$\{{?{name}\b|^\s+{name}\b|\b{name} [A-Z]", text, re.M)}


def variables_required(script: Path) -> set[str]:
    return set(" ".join(re.findall(r"(?m)^require (.*)$", script.read_text())).split())


@pytest.mark.parametrize("script", NUMBERED[1:], ids=identifier)
def test_script_requires_every_parameter_that_it_uses(script: Path) -> None:
    assert variables_used(script) <= variables_required(script)


@pytest.mark.parametrize(
    ("script", "missing"),
    [(script, name) for script in NUMBERED[1:] for name in sorted(variables_required(script))],
    ids=identifier,
)
def test_script_names_a_missing_variable_before_it_does_anything(script: Path, missing: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in PARAMETERS.items() if name != missing}
    work = tmp_path / "work"
    result = run_script(
        script, environment={**environment, "IMAGE_ENV": str(tmp_path / "absent"), "WORK_DIR": str(work)}
    )
    assert result.returncode == 1
    assert missing in result.stderr
    assert not work.exists()


def test_parameters_are_written_as_given(tmp_path: Path) -> None:
    target = tmp_path / "image.env"
    result = write_parameters(target, *parameter_arguments())
    assert result.returncode == 0, result.stderr
    written = dict(line.split("=", 1) for line in target.read_text().splitlines() if not line.startswith("#"))
    assert written == PARAMETERS


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_missing_parameter_is_named(name: str, tmp_path: Path) -> None:
    arguments = [argument for argument in parameter_arguments() if not argument.startswith(f"{name}=")]
    result = write_parameters(tmp_path / "image.env", *arguments)
    assert result.returncode == 1
    assert f"parameter {name} is missing" in result.stderr


def test_unknown_parameter_is_refused(tmp_path: Path) -> None:
    result = write_parameters(tmp_path / "image.env", *parameter_arguments(), "COLOUR=blue")
    assert result.returncode == 1
    assert "unknown parameter COLOUR" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NGINX_BUILD", "docker"),
        ("JAIL_BASE_DIR", "/"),
        ("JAIL_BASE_DIR", "/nginx/../etc"),
        ("JAIL_BASE_DIR", "nginx"),
        ("PROXY_BASE_DIR", "/etc/nginx; reboot"),
        ("WSS_PROXY_BIND_PORT", "0"),
        ("WSS_PROXY_BIND_PORT", "65536"),
        ("HEALTH_PORT", "http"),
        ("READ_TIMEOUT", "60"),
        ("READ_TIMEOUT", "soon"),
        ("PROXY_WORKER_PROCESSES", "many"),
        ("SOURCE_BASE_URL", "git@github.com:openresty"),
        ("CLOUDWATCH_LOG_GROUP", "a b"),
        ("CLOUDWATCH_LOG_GROUP", "$(reboot)"),
        ("BRIDGE", "telnet"),
        ("KERNEL_PORTS_RANGE_END", "1024"),
    ],
)
def test_bad_value_is_refused_and_named(name: str, value: str, tmp_path: Path) -> None:
    target = tmp_path / "image.env"
    result = write_parameters(target, *parameter_arguments(**{name: value}))
    assert result.returncode == 1
    assert name in result.stderr or "KERNEL_PORTS_RANGE" in result.stderr
    assert not target.exists()


def test_websockify_with_the_distribution_build_is_refused_with_the_remedy(tmp_path: Path) -> None:
    result = write_parameters(tmp_path / "image.env", *parameter_arguments(BRIDGE="websockify"))
    assert result.returncode == 1
    assert "NGINX_BUILD=source" in result.stderr


def test_distribution_build_on_dnf_is_refused_with_the_remedy() -> None:
    result = subprocess.run(
        ["bash", "-c", 'source "$0/lib.sh"; source "$0/packages.sh"; distribution_packages dnf', str(INSTALL)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "needs apt" in result.stderr


# A system in which an update of its own ends at the third look.
BUSY_SYSTEM = """
system_runs() { true; }
cloud-init() { echo "cloud-init $*"; }
systemctl() {
  if [[ $1 == is-active ]]; then
    looks=$(($(cat "$STATE") - 1)) && echo "$looks" >"$STATE"
    if ((looks > 0)); then echo activating; else echo inactive; return 3; fi
  else
    echo "systemctl $*"
  fi
}
sleep() { echo "sleep $*"; }
apt-get() { echo "apt-get $*"; }
refresh_package_lists apt
"""


@pytest.mark.parametrize("libraries", [
    [INSTALL / "lib.sh", INSTALL / "packages.sh"], [COMPONENT.parent / "mock_servers/install/lib.sh"],
], ids=["proxy", "mock servers"])  # fmt: skip
def test_packages_are_installed_after_the_system_s_own_updates(tmp_path: Path, libraries: list[Path]) -> None:
    state = tmp_path / "looks"
    state.write_text("3")
    sourced = "".join(f'source "{library}"\n' for library in libraries)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", sourced + BUSY_SYSTEM],
        env={**os.environ, "STATE": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if "waiting" not in line]
    assert lines == [
        "systemctl stop apt-daily.timer apt-daily-upgrade.timer",
        "sleep 5",
        "sleep 5",
        "apt-get update",
    ]


def test_system_without_a_known_package_manager_is_refused(tmp_path: Path) -> None:
    dirname = tmp_path / "dirname"
    dirname.symlink_to("/usr/bin/dirname")
    (tmp_path / "basename").symlink_to("/usr/bin/basename")
    result = subprocess.run(
        ["/bin/bash", "-c", 'source "$0/lib.sh"; source "$0/packages.sh"; package_manager', str(INSTALL)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Amazon Linux 2023" in result.stderr


def test_rendering_replaces_the_named_placeholders_only(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "directory" / "target"
    source.write_text("a=@FIRST@ b=$second {three}\n")
    result = install_rendered(source, target, {"FIRST": "/x&y"})
    assert result.returncode == 0, result.stderr
    assert target.read_text() == "a=/x&y b=$second {three}\n"
    assert target.stat().st_mode & 0o777 == 0o644


def test_rendering_refuses_a_placeholder_without_a_value(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("a=@FIRST@ b=@SECOND@\n")
    result = install_rendered(source, target, {"FIRST": "1"})
    assert result.returncode == 1
    assert "@SECOND@" in result.stderr
    assert not target.exists()
