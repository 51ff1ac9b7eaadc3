"""The jail of an image as the documents built it, and of a machine that runs from it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from local.deployment import PROXY, Deployment
from local.machine import Machine
from tests.components.component_support import INSTALL, load_program

BUILDS = [
    pytest.param("deployment", marks=pytest.mark.machine, id="distribution"),
    pytest.param("source_deployment", marks=[pytest.mark.machine, pytest.mark.source], id="source"),
]


@pytest.fixture(scope="module")
def inspection() -> ModuleType:
    return load_program(INSTALL / "inspect_jail.py", "inspect_jail")


@pytest.fixture(params=BUILDS)
def built(request: pytest.FixtureRequest) -> Deployment:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Deployment)
    return found


@pytest.fixture
def image(built: Deployment) -> Path:
    found = built.images.find(PROXY)
    assert found
    return found.root


@pytest.fixture
def machine(built: Deployment) -> Machine:
    return built.with_role(PROXY)[0]


def libraries_by_ldd(root: Path) -> set[str]:
    """File names of what the image's own dynamic linker loads for the program and its plugins in the jail."""
    jail = root / "nginx"
    plugins = [*(jail / "usr/lib/nginx/modules").glob("*.so"), *(jail / "usr/lib/lua").rglob("*.so")]
    names = set()
    for binary in [jail / "usr/sbin/nginx", *plugins]:
        command = ["chroot", str(root), "ldd", f"/{binary.relative_to(root)}"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        names |= {Path(word).name for line in output.splitlines() for word in line.split() if word.startswith("/")}
    return names


def test_image_s_jail_is_as_it_should_be(image: Path, inspection: ModuleType) -> None:
    assert inspection.inspect(image / "nginx") == []


def test_running_machine_s_jail_is_as_it_should_be(machine: Machine, inspection: ModuleType) -> None:
    assert inspection.inspect(machine.root / "nginx") == []


def test_jail_has_exactly_the_libraries_that_ldd_names_and_the_unwinder(image: Path) -> None:
    jail = image / "nginx"
    plugins = ("usr/lib/nginx/modules", "usr/lib/lua")
    there = {
        path.name
        for path in jail.rglob("*.so*")
        if path.is_file() and not str(path.relative_to(jail)).startswith(plugins)
    }
    assert there == libraries_by_ldd(image) | {"libgcc_s.so.1"}


def test_machine_in_service_passes_its_own_validation(machine: Machine) -> None:
    result = machine.run(["/usr/libexec/secure-proxy/validate"])
    assert result.returncode == 0, result.stderr


def test_machine_in_service_refuses_the_self_test(machine: Machine) -> None:
    result = machine.run(["/usr/libexec/secure-proxy/self-test"])
    assert result.returncode == 2
    assert "this machine" in result.stderr


def test_image_has_no_build_tool(image: Path) -> None:
    for tool in ("gcc", "cc", "make", "ld"):
        assert not (image / "usr/bin" / tool).exists()


def test_image_has_no_working_files(image: Path) -> None:
    assert list((image / "var/tmp").glob("secure-proxy*")) == []


def test_rotated_logs_are_written_on_without_a_reload(machine: Machine) -> None:
    main = ["systemctl", "show", "--property=MainPID", "--value", "nginx.service"]
    before = machine.run(main, check=True).stdout
    machine.run(["logrotate", "--force", "/etc/secure-proxy/logrotate.conf"], check=True)
    opened = machine.run(["sh", "-c", "ls -l /proc/$(systemctl show -P MainPID nginx.service)/fd"], check=True).stdout
    assert "/etc/nginx/logs/nginx-error.log\n" in opened
    assert "nginx-error.log.1" not in opened
    assert machine.run(main, check=True).stdout == before


def test_logs_that_grew_are_rotated_by_the_unit(machine: Machine) -> None:
    log = machine.root / "nginx/etc/nginx/logs/http-access.log"
    with log.open("ab") as grown:
        grown.truncate(101 << 20)
    machine.run(["systemctl", "start", "secure-proxy-logrotate.service"], check=True)
    assert log.stat().st_size < 1 << 20
    assert machine.run(["systemctl", "is-active", "secure-proxy-logrotate.timer"]).stdout.strip() == "active"


def test_metrics_unit_appends_a_record(machine: Machine) -> None:
    machine.run(["systemctl", "start", "secure-proxy-metrics.service"], check=True)
    records = machine.run(["tail", "--lines=1", "/var/log/secure-proxy/nginx-metrics.log"], check=True).stdout
    assert '"ConnectionsActive":' in records
