"""Removing a deployment, whatever state it is in, and proof that nothing of it is left.

What there is to remove is looked for in the kernel and the file system, by names derived from the deployment's (see
layout) and by the traces its processes bear (see traces): records may be missing or half written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.base_root import BaseRoot
from local.control_groups import ControlGroups
from local.downloads import Downloads
from local.endpoint.control import Endpoint
from local.errors import LocalError
from local.images import remove_trees
from local.layout import Layout
from local.machine import Machine
from local.mounts import mount_points, unmount_below
from local.network import interfaces, remove_interface
from local.processes import identify, terminate
from local.traces import Traces, describe, find_processes, kill_all

# systemd-nspawn's own directories; it tidies them unless it was killed.
_NSPAWN = Path("/run/systemd/nspawn")


@dataclass(frozen=True)
class Cleanup:
    """Removes what belongs to `layout`. Safe to run again and again."""

    layout: Layout
    groups: ControlGroups

    def traces(self) -> Traces:
        """How the deployment's processes are recognised now."""
        return Traces.of(self._roots(), self._namespaces(), f"{self.layout.identity}-")

    def stop(self) -> None:
        """End the endpoint, machines (gracefully), load balancers, name server and builds; remove network and disks.

        Published images and logs stay. Raises `LocalError` naming what cannot be removed.
        """
        # First, lest it take machines that end for ones that died, and start others.
        Endpoint(self.layout).stop()
        self._shut_down_machines()
        kill_all(self.traces())
        unmount_below(self.layout.state)
        for device in interfaces(self.layout.identity):
            with suppress(LocalError):  # a cable goes with its other end
                remove_interface(device)
        self.groups.remove(f"{self.layout.identity}-")
        self._tidy_after_nspawn()
        Downloads(self.layout.cache_base / "downloads").release(f"{self.layout.identity}-")
        BaseRoot(self.layout.cache_base / "base").discard_partial()
        for path in (self.layout.record, self.layout.ca_file, self.layout.deployed):
            path.unlink(missing_ok=True)
        _remove(self.layout.machines, self.layout.builds, self.layout.run)

    def remove(self) -> None:
        """`stop`, and remove images and logs too. Raises `LocalError` naming whatever is left after that."""
        self.stop()
        _remove(self.layout.images, self.layout.state)
        remaining = self.remaining()
        if remaining:
            raise LocalError("\n".join([f"of deployment {self.layout.name!r} this is left:", *remaining]))
        self.layout.lock.unlink(missing_ok=True)
        with suppress(OSError):
            self.layout.state_base.rmdir()

    def remaining(self) -> list[str]:
        """All that is left of the deployment, a line each."""
        found = [f"  process {describe(identity.pid)}" for identity in find_processes(self.traces())]
        found += [f"  mount {point}" for point in mount_points(self.layout.state)]
        found += [f"  network device {device}" for device in interfaces(self.layout.identity)]
        found += [f"  control group {group}" for group in self.groups.find(f"{self.layout.identity}-")]
        if self.layout.state.exists():
            found.append(f"  directory {self.layout.state}")
        return found

    def _shut_down_machines(self) -> None:
        names = [path.name for path in _entries(self.layout.machines)]
        with ThreadPoolExecutor(max_workers=8) as pool:
            for name in names:
                pool.submit(self._shut_down, name)

    def _shut_down(self, name: str) -> None:
        with suppress(LocalError, ValueError, OSError):  # what does not end by itself is killed next
            Machine.load(self.layout, name).stop()

    def _roots(self) -> list[Path]:
        images = [path / "image/root" for path in _entries(self.layout.builds)]
        return images + [path / "root" for path in _entries(self.layout.machines)]

    def _namespaces(self) -> list[Path]:
        return [path for path in _entries(self.layout.namespaces) if path in mount_points(self.layout.state)]

    def _tidy_after_nspawn(self) -> None:
        for path in (_NSPAWN / "propagate").glob(f"{self.layout.identity}-*"):
            with suppress(OSError):
                path.rmdir()
        for root in self._roots():
            with suppress(OSError):
                found = root.stat()
                (_NSPAWN / "locks" / f"inode-{found.st_dev}:{found.st_ino}").unlink()


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _remove(*directories: Path) -> None:
    """Remove directories, what is in them first and at once."""
    remove_trees(entry for directory in directories for entry in _entries(directory))
    remove_trees(directories)


def stop_command(pid: int, report: Callable[[str], None], grace: float = 60) -> None:
    """End another `up` of this deployment: SIGTERM lets it clean up, after `grace` seconds it is killed."""
    identity = identify(pid)
    if identity and pid != os.getpid():
        report(f"ending the unfinished command (process {describe(pid)})")
        terminate(identity, grace)
