"""Machines booted for real from an image."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.deployment import MOCKS, Deployment
from local.errors import LocalError
from local.images import new_image_id
from local.machine import Machine
from local.processes import wait_until
from tests.local.workshop import output
from tests.machines import launch

pytestmark = pytest.mark.machine


def test_systemd_is_pid_1_and_all_units_are_well(machine: Machine) -> None:
    assert output(machine, "cat /proc/1/comm") == "systemd"
    assert machine.failed_units() == []


def test_a_machine_has_the_address_and_name_server_it_was_given(machine: Machine, deployment: Deployment) -> None:
    assert str(machine.address) in output(machine, "ip -4 -br address show eth0")
    assert output(machine, "cat /etc/resolv.conf").startswith(f"nameserver {deployment.network.gateway}\n")
    assert output(machine, "cat /etc/hostname 2>/dev/null || hostname") == machine.name


def test_user_data_are_served_with_a_token_and_not_without(machine: Machine) -> None:
    url = "http://169.254.169.254/latest"
    token = f"$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {url}/api/token)"
    assert output(machine, f'curl -s -H "X-aws-ec2-metadata-token: {token}" {url}/user-data') == "GREETING=hello"
    assert output(machine, f"curl -s -o /dev/null -w '%{{http_code}}' {url}/user-data") == "401"


def test_user_data_are_not_served_on_the_host(deployment: Deployment) -> None:
    assert deployment.machines
    addresses = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, check=True).stdout
    assert "169.254.169.254" not in addresses


def test_kernel_settings_of_a_machine_are_its_own(machine: Machine) -> None:
    path = "/proc/sys/net/ipv4/ip_local_port_range"
    before = Path(path).read_text()
    assert output(machine, f"echo 20000 21000 >{path}; cat {path}").split() == ["20000", "21000"]
    assert Path(path).read_text() == before


def test_a_command_that_fails_says_so(machine: Machine) -> None:
    done = machine.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_service_that_is_killed_comes_back(machine: Machine) -> None:
    def number() -> str:
        return output(machine, "systemctl show --property MainPID --value word.service")

    before = number()
    machine.run(["systemctl", "kill", "--signal=KILL", "word.service"], check=True)
    assert wait_until(lambda: number() not in (before, "0"), 10)


def test_the_journal_is_read_by_unit(machine: Machine) -> None:
    assert "word.service" in machine.journal("word.service")
    assert "dbus" not in machine.journal("word.service")


def test_a_second_machine_has_an_identity_of_its_own(machine: Machine, deployment: Deployment) -> None:
    second = launch(deployment, MOCKS)
    try:
        second.wait_booted()
        assert second.address != machine.address
        assert output(second, "cat /etc/machine-id") != output(machine, "cat /etc/machine-id")
        assert second.instance_id != machine.instance_id
        names = [target.name for target in deployment.listeners()["internal"][0].targets]
        assert names == [machine.name, second.name]
    finally:
        deployment.terminate(second.name)
    assert second.name not in deployment.machines
    assert not second.directory.exists()


def test_a_machine_of_an_image_that_is_not_there_is_refused(deployment: Deployment) -> None:
    image_id = new_image_id()
    with pytest.raises(LocalError, match=f"there is no image {image_id}"):
        deployment.launch_instance("i-0123456789abcdef0", image_id, None)


def test_another_process_sees_the_same_deployment(deployment: Deployment) -> None:
    loaded = Deployment.load(layout=deployment.layout)
    assert loaded.record == deployment.record
    assert loaded.machine(f"{MOCKS}-1").state == "running"


def test_a_machine_that_is_not_there_is_named_with_those_that_are(deployment: Deployment) -> None:
    with pytest.raises(LocalError, match=f"no machine 'nobody'; there are: {MOCKS}-1"):
        deployment.machine("nobody")


def test_a_machine_is_stopped_and_started_with_its_disk(deployment: Deployment) -> None:
    second = launch(deployment, MOCKS)
    try:
        second.wait_booted()
        second.run(["sh", "-c", "echo kept >/etc/kept; logger --id=1 before the end"], check=True)
        identity = output(second, "cat /etc/machine-id")
        second.stop()
        assert second.state == "stopped"
        assert "before the end" in second.journal(lines=500)
        second.start()
        second.wait_booted()
        assert output(second, "cat /etc/machine-id /etc/kept").split() == [identity, "kept"]
    finally:
        deployment.terminate(second.name)
