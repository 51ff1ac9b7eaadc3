"""Recognising the processes of a deployment: in a fake /proc, and with real children."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.errors import LocalError
from local.processes import identify
from local.traces import MARKER, Traces, find_processes, kill_all

UNIT = "sp-0123abcd-"


class FakeProc:
    """A /proc in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.common = path.parent / "common"
        self.common.mkdir()

    def add(self, pid: int, *, root: Path | None = None, namespace: Path | None = None, **files: bytes) -> None:
        process = self.path / str(pid)
        (process / "ns").mkdir(parents=True)
        (process / "root").symlink_to(root or self.common)
        (process / "ns/net").symlink_to(namespace or self.common)
        (process / "stat").write_text(f"{pid} (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid}00 0 0")
        for name, content in files.items():
            (process / name).write_bytes(content)

    def found(self, traces: Traces) -> list[int]:
        return [identity.pid for identity in find_processes(traces, self.path)]


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    (tmp_path / "proc").mkdir()
    return FakeProc(tmp_path / "proc")


def test_a_process_with_our_root_is_found(proc: FakeProc, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    proc.add(7, root=tmp_path / "root")
    proc.add(8)
    assert proc.found(Traces.of([tmp_path / "root"], [], UNIT)) == [7]


def test_a_process_in_our_namespace_is_found(proc: FakeProc, tmp_path: Path) -> None:
    (tmp_path / "netns").touch()
    proc.add(7, namespace=tmp_path / "netns")
    proc.add(8)
    assert proc.found(Traces.of([], [tmp_path / "netns"], UNIT)) == [7]


def test_processes_of_one_unit_are_not_those_of_a_unit_whose_name_goes_on(proc: FakeProc) -> None:
    for pid, name in ((7, "proxy-1"), (8, "proxy-10")):
        proc.add(pid, environ=f"PATH=/bin\0{MARKER}={UNIT}{name}\0".encode())
    for pid, name in ((9, "proxy-1"), (10, "proxy-10")):
        proc.add(pid, cgroup=f"1:name=systemd:/{UNIT}{name}/payload/init.scope\n".encode())
    assert proc.found(Traces.of([], [], f"{UNIT}proxy-1")) == [7, 9]
    assert sorted(proc.found(Traces.of([], [], UNIT))) == [7, 8, 9, 10]


def test_a_process_with_our_mark_is_found(proc: FakeProc) -> None:
    proc.add(7, environ=f"A=b\0{MARKER}={UNIT}public-balancer\0".encode())
    proc.add(8, environ=f"A=b\0{MARKER}=sp-ffffffff-public-balancer\0".encode())
    assert proc.found(Traces.of([], [], UNIT)) == [7]


@pytest.mark.parametrize("path", ["0::/{}m1/payload/init.scope", "1:name=systemd:/machine.slice/{}m1.scope"])
def test_a_process_in_our_control_group_is_found(proc: FakeProc, path: str) -> None:
    proc.add(7, cgroup=path.format(UNIT).encode() + b"\n")
    proc.add(8, cgroup=path.format("sp-ffffffff-").encode() + b"\n")
    assert proc.found(Traces.of([], [], UNIT)) == [7]


def test_a_process_that_only_names_our_paths_is_spared(proc: FakeProc, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    proc.add(7, cmdline=f"tail\0-f\0{tmp_path}/root/log\0".encode(), environ=f"PWD={tmp_path}/root\0".encode())
    assert proc.found(Traces.of([tmp_path / "root"], [], UNIT)) == []


def test_this_process_and_those_it_descends_from_are_spared(proc: FakeProc, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    proc.add(os.getpid(), root=tmp_path / "root")
    assert proc.found(Traces.of([tmp_path / "root"], [], UNIT)) == []


@pytest.fixture
def marked() -> Iterator[subprocess.Popen[bytes]]:
    """A real shell with our mark, and a child of its own that inherits it."""
    environment = {**os.environ, MARKER: f"{UNIT}x"}
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], env=environment, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_marked_processes_are_killed_with_their_descendants(marked: subprocess.Popen[bytes]) -> None:
    assert marked.stdout is not None
    child = int(marked.stdout.readline())
    kill_all(Traces.of([], [], UNIT))
    assert identify(marked.pid) is None
    assert identify(child) is None


def test_what_cannot_be_killed_is_named(marked: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.traces.signal_process", lambda *_: True)
    with pytest.raises(LocalError, match=rf"processes do not end: .*{marked.pid} \(sh -c sleep 60"):
        kill_all(Traces.of([], [], UNIT), timeout=0.1)
    monkeypatch.undo()
    kill_all(Traces.of([], [], UNIT))
