"""What a deployment leaves is found and removed. These come last in the directory, for they end it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from local.deployment import MOCKS, Deployment
from local.machine import Machine
from local.mounts import mount_points
from local.network import interfaces
from local.processes import identify, wait_until
from local.traces import find_processes
from tests.local.workshop import Workshop

pytestmark = pytest.mark.machine


def test_a_machine_whose_supervisor_was_killed_is_still_found(machine: Machine, workshop: Workshop) -> None:
    container = next(
        identity
        for identity in find_processes(workshop.cleanup.traces())
        if b"systemd-nspawn" in Path(f"/proc/{identity.pid}/cmdline").read_bytes()
    )
    inside = machine.leader
    assert inside is not None
    os.kill(container.pid, signal.SIGKILL)
    assert wait_until(lambda: identify(container.pid) is None, 5)
    assert identify(inside) is not None, "systemd died with its supervisor; this test has lost its point"
    assert inside in [identity.pid for identity in find_processes(workshop.cleanup.traces())]


def test_all_is_removed_whatever_is_left_of_the_records(deployment: Deployment, workshop: Workshop) -> None:
    layout = deployment.layout
    for record in layout.run.iterdir():
        if record.is_file():
            record.unlink()
    layout.record.write_text("{")
    with suppress(OSError):
        (layout.machines / f"{MOCKS}-1/machine.json").unlink()
    workshop.cleanup.remove()
    assert workshop.cleanup.remaining() == []
    assert interfaces(layout.identity) == []
    assert mount_points(layout.state) == []
    assert not layout.state_base.exists()
    table = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not re.findall(rf".*{layout.identity}.*", table)


def test_removing_what_is_not_there_is_no_error(workshop: Workshop) -> None:
    workshop.layout.state_base.mkdir(parents=True, exist_ok=True)
    workshop.cleanup.remove()
    workshop.cleanup.remove()
