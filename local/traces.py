"""How processes of a deployment are recognised, whoever started them and whatever became of that.

A process of the host carries our mark in its environment; one inside a machine or a build has its root directory,
network namespace or control group there. Command lines and working directories say nothing: a user's shell may name
our paths.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError
from local.layout import covers
from local.processes import PROC, Identity, identify, signal_process

MARKER = "SECURE_PROXY_LOCAL_UNIT"

_Key = tuple[int, int]


@dataclass(frozen=True)
class Traces:
    """Device and inode numbers of root directories and namespaces, and the unit (see `layout.covers`) of marks and
    control groups."""

    roots: frozenset[_Key]
    namespaces: frozenset[_Key]
    unit: str

    @classmethod
    def of(cls, roots: Iterable[Path], namespaces: Iterable[Path], unit: str) -> Traces:
        """The traces of what exists of those directories and namespace files."""
        return cls(frozenset(_keys(roots)), frozenset(_keys(namespaces)), unit)

    def leads_to(self, process: Path) -> bool:
        """Whether the process with the /proc directory `process` is one of ours."""
        return (
            bool(self.roots.intersection(_keys([process / "root"])))
            or bool(self.namespaces.intersection(_keys([process / "ns/net"])))
            or self._is_marked(_read(process / "environ").decode(errors="replace"))
            or self._in_control_group(_read(process / "cgroup").decode(errors="replace"))
        )

    def _in_control_group(self, text: str) -> bool:
        return any(covers(self.unit, part) for line in text.splitlines() for part in line.split("/")[1:])

    def _is_marked(self, environment: str) -> bool:
        variables = (entry.partition("=") for entry in environment.split("\0"))
        return any(name == MARKER and covers(self.unit, mark) for name, _, mark in variables)


def find_processes(traces: Traces, proc: Path = PROC) -> list[Identity]:
    """All live processes of the traces, never this one or those that it descends from."""
    spared = set(_ancestry(os.getpid(), proc))
    found = []
    for path in sorted(proc.iterdir()):
        if path.name.isdecimal() and int(path.name) not in spared and traces.leads_to(path):
            identity = identify(int(path.name), proc)
            if identity:
                found.append(identity)
    return found


def kill_all(traces: Traces, timeout: float = 15) -> None:
    """Kill all processes of the traces; raises `LocalError` naming those that remain after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while found := find_processes(traces):
        for identity in found:
            signal_process(identity, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LocalError(f"processes do not end: {', '.join(describe(identity.pid) for identity in found)}")
        time.sleep(0.05)


def describe(pid: int, proc: Path = PROC) -> str:
    """A process for a message: its number and command line."""
    words = _read(proc / str(pid) / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return f"{pid} ({words[:80] or 'unknown'})"


def _ancestry(pid: int, proc: Path) -> Iterator[int]:
    while pid > 0:
        yield pid
        text = _read(proc / str(pid) / "stat").decode(errors="replace")
        fields = text.rpartition(") ")[2].split()
        pid = int(fields[1]) if len(fields) > 1 and fields[1].isdecimal() else 0


def _keys(paths: Iterable[Path]) -> Iterator[_Key]:
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            yield found.st_dev, found.st_ino


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
