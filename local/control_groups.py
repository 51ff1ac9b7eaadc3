"""Control groups for our containers where no service manager runs on the host.

Two systemd containers must not share a control group: each would manage the other's services. Where systemd is the
host's PID 1, systemd-nspawn asks it for a scope of its own and nothing is to be done here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError
from local.layout import covers

ROOT = Path("/sys/fs/cgroup")
_SERVICE_MANAGER = Path("/run/systemd/system")


def service_manager_runs() -> bool:
    """Whether systemd is the host's PID 1 (sd_booted(3))."""
    return _SERVICE_MANAGER.is_dir()


@dataclass(frozen=True)
class ControlGroups:
    """The hierarchies in which systemd keeps processes: version 2, or of version 1 the one named systemd."""

    root: Path = ROOT
    managed: Callable[[], bool] = service_manager_runs

    def hierarchies(self) -> list[Path]:
        if (self.root / "cgroup.controllers").exists():
            return [self.root]
        return [path for path in (self.root / "systemd", self.root / "unified") if (path / "cgroup.procs").exists()]

    def create(self, unit: str) -> list[Path]:
        """Make the groups of `unit`; returns the files that a process writes its number to in order to join."""
        if self.managed():
            return []
        groups = [hierarchy / unit for hierarchy in self.hierarchies()]
        for group in groups:
            group.mkdir(exist_ok=True)
        return [group / "cgroup.procs" for group in groups]

    def find(self, unit: str) -> list[Path]:
        """The groups of `unit` (see `layout.covers`), in any hierarchy."""
        return sorted(
            path
            for hierarchy in self.hierarchies()
            for path in hierarchy.glob(f"{unit}*")
            if path.is_dir() and covers(unit, path.name)
        )

    def remove(self, unit: str, timeout: float = 5) -> None:
        """Remove the groups of `unit`; raises `LocalError` if one is still in use."""
        deadline = time.monotonic() + timeout
        while remaining := self.find(unit):
            for group in remaining:
                # A control group is removed with its files in place, children first.
                for path in sorted((group, *(p for p in group.rglob("*") if p.is_dir())), key=lambda p: -len(p.parts)):
                    with suppress(OSError):
                        path.rmdir()
            if time.monotonic() > deadline:
                raise LocalError(f"control group {remaining[0]} is still in use")
            time.sleep(0.05)
