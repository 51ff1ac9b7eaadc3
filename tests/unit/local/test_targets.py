"""Targets: how a running command is interrupted, and what a build root's command line holds."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from local.nspawn import Environment, Mount, boot_command, leader, step_command
from local.targets import BootedMachine, CancelledError
from tests.unit.local.support import on_host


def test_cancelling_ends_a_running_command() -> None:
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        BootedMachine(on_host, cancel).execute(["sleep", "30"], stdin=b"", timeout=None, output=bytes)
    assert time.monotonic() - began < 3


def test_large_input_and_output_pass_whole() -> None:
    received: list[bytes] = []
    content = bytes(range(256)) * 8192
    code = BootedMachine(on_host, threading.Event()).execute(["cat"], stdin=content, timeout=30, output=received.append)
    assert (code, b"".join(received)) == (0, content)


def test_a_build_step_sees_mounts_and_variables(tmp_path: Path) -> None:
    environment = Environment((Mount(tmp_path, "/in"), Mount(tmp_path, "/rw", writable=True)), {"A": "b c"})
    command = step_command(Path("/root-dir"), "sp-0-build", environment, ["sh", "-c", "x"])
    assert {f"--bind-ro={tmp_path}:/in", f"--bind={tmp_path}:/rw", "--setenv=A=b c"} <= set(command)
    assert command[-4:] == ["--", "sh", "-c", "x"]


def test_colons_in_mounted_paths_are_escaped() -> None:
    assert Mount(Path("/a:b"), "/c").option() == r"--bind-ro=/a\:b:/c"


def test_a_machine_boots_in_its_own_namespace_and_name() -> None:
    command = boot_command(Path("/root-dir"), "sp-0-m", namespace=Path("/ns"), hostname="m")
    assert {"--boot", "--network-namespace-path=/ns", "--hostname=m", "--machine=sp-0-m"} <= set(command)


def test_the_leader_is_the_child_that_is_first_in_its_own_pid_namespace(tmp_path: Path) -> None:
    for child, numbers in (("7", "7"), ("8", "8\t1"), ("9", "9\t5")):
        (tmp_path / child).mkdir()
        (tmp_path / child / "status").write_text(f"Name:\tx\nNSpid:\t{numbers}\n")
    children = tmp_path / "5/task/5"
    children.mkdir(parents=True)
    (children / "children").write_text("7 9 8 ")
    assert leader(5, tmp_path) == 8


def test_there_is_no_leader_without_a_container(tmp_path: Path) -> None:
    assert leader(5, tmp_path) is None
