"""The cached base root, with a stand-in for mmdebstrap."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.base_root import BaseRoot
from local.errors import LocalError
from local.layout import REPOSITORY
from local.processes import identify, wait_until
from local.progress import Progress
from local.targets import CancelledError


@dataclass
class Workplace:
    """Where base roots are made by a script of the test's."""

    directory: Path
    log: Path

    def script(self, text: str) -> None:
        tool = self.directory.parent / "bin/mmdebstrap"
        # The target directory is the last word but one.
        tool.write_text(f"#!/bin/bash\ntarget=${{@:$#-1:1}}\nsources=$(cat)\n{text}\n")
        tool.chmod(0o755)

    def ensure(self, mirror: str = "http://mirror.invalid", cancel: threading.Event | None = None) -> Path:
        return BaseRoot(self.directory, mirror).ensure(self.log, Progress(io.StringIO()), cancel or threading.Event())

    def left(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.name != "lock")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    made = Workplace(tmp_path / "base", tmp_path / "log")
    made.script('mkdir "$target"; echo "$sources" >"$target/sources"; echo "$@" >"$target/options"')
    return made


def test_a_base_root_is_made_once(workplace: Workplace) -> None:
    first = workplace.ensure()
    workplace.script("exit 1")
    assert workplace.ensure() == first
    assert workplace.left() == [first.name]


def test_updates_and_security_updates_are_among_the_sources(workplace: Workplace) -> None:
    assert (workplace.ensure() / "sources").read_text().splitlines() == [
        "deb http://mirror.invalid/debian trixie main",
        "deb http://mirror.invalid/debian trixie-updates main",
        "deb http://mirror.invalid/debian-security trixie-security main",
    ]


def test_another_mirror_is_another_root(workplace: Workplace) -> None:
    assert workplace.ensure("http://one.invalid") != workplace.ensure("http://two.invalid")


def test_a_failure_leaves_nothing_and_says_why(workplace: Workplace) -> None:
    workplace.script('mkdir "$target"; echo "E: no such suite"; exit 25')
    with pytest.raises(LocalError, match=r"exit code 25\):\nE: no such suite\n[\s\S]*--debian-mirror"):
        workplace.ensure()
    assert workplace.left() == []


def test_cancelling_ends_the_tool_and_leaves_nothing(workplace: Workplace) -> None:
    workplace.script('mkdir "$target"; sleep 60 & echo $!; wait')
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        workplace.ensure(cancel=cancel)
    assert time.monotonic() - began < 5
    assert workplace.left() == []
    assert wait_until(lambda: identify(int(workplace.log.read_text())) is None, 5)


def test_what_a_killed_run_left_is_removed_with_its_processes(workplace: Workplace) -> None:
    workplace.script(
        'trap "" TERM; mkdir "$target"; while :; do mkdir -p "$target"; date >"$target/$RANDOM"; sleep 0.01; done'
    )
    run = (
        "import io, sys, threading; from pathlib import Path; from local.base_root import BaseRoot; "
        "from local.progress import Progress; "
        "BaseRoot(Path(sys.argv[1]), 'http://mirror.invalid').ensure("
        "Path(sys.argv[2]), Progress(io.StringIO()), threading.Event())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", run, str(workplace.directory), str(workplace.log)], cwd=REPOSITORY
    ) as process:
        assert wait_until(lambda: any(workplace.directory.glob("*.partial/*")), 20)
        process.kill()
    BaseRoot(workplace.directory).discard_partial()
    assert workplace.left() == []
    time.sleep(0.2)
    assert workplace.left() == []
