"""The lock between commands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from local.layout import REPOSITORY
from local.locks import LockedError, locked
from local.processes import wait_until

HOLD = """
import sys
from pathlib import Path
from local.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_lock_names_its_holder(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        with pytest.raises(LockedError) as caught, locked(tmp_path / "lock"):
            pass
        process.kill()
    assert caught.value.holder == process.pid


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        process.kill()
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_whoever_waits_for_a_file_that_its_holder_removes_takes_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held: list[bool] = []

    def wait() -> None:
        with locked(path, wait=True):
            held.append(path.exists())

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        path.unlink()
    thread.join(10)
    assert held == [True]


def test_a_lock_that_was_removed_with_its_file_is_taken_anew(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        path.unlink()
    with locked(path):
        assert path.exists()


def test_whoever_waits_makes_the_directory_again_that_the_holder_removes(tmp_path: Path) -> None:
    """As the second of two `destroy.sh` at once."""
    path = tmp_path / "state/lock"
    held: list[bool] = []
    descriptors = Path("/proc/self/fd")

    def wait() -> None:
        with locked(path, wait=True, parents=True):
            held.append(path.exists())

    def opened() -> bool:
        return sum(os.path.realpath(entry) == str(path) for entry in descriptors.iterdir()) == 2

    with locked(path, parents=True):
        thread = threading.Thread(target=wait)
        thread.start()
        assert wait_until(opened, 10)
        path.unlink()
        path.parent.rmdir()
    thread.join(10)
    assert held == [True]
