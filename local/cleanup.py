"""Removing a deployment, whatever state it is in, and proof that nothing of it is left.

What there is to remove is looked for in the kernel and the file system, by names derived from the deployment's (see
layout) and by the traces its processes bear (see traces): records may be missing or half written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from local.base_root import BaseRoot
from local.control_groups import ControlGroups
from local.downloads import Downloads
from local.endpoint.control import Endpoint
from local.errors import LocalError, UsageError
from local.images import remove_tree, remove_trees
from local.layout import Layout
from local.locks import LockedError, locked
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

        Images too, for no other endpoint would know them; logs stay. Raises `LocalError` naming what cannot be removed.
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
        for path in _entries(self.layout.state):
            if not path.is_dir():
                path.unlink()
        _remove(*(path for path in _entries(self.layout.state) if path != self.layout.logs))

    def remove(self) -> None:
        """`stop`, and remove logs too. Raises `LocalError` naming whatever is left after that."""
        self.stop()
        _remove(self.layout.state)
        remaining = self.remaining()
        if remaining:
            raise LocalError("\n".join([f"of deployment {self.layout.name!r} this is left:", *remaining]))
        self.layout.lock.unlink(missing_ok=True)
        with suppress(OSError):
            self.layout.state_base.rmdir()

    def is_needed(self) -> bool:
        """Whether there is anything that `stop` would end or remove."""
        return bool(self._running()) or any(path != self.layout.logs for path in _entries(self.layout.state))

    def remaining(self) -> list[str]:
        """All that is left of the deployment, a line each."""
        directory = [f"  directory {self.layout.state}"] if self.layout.state.exists() else []
        return self._running() + directory

    def _running(self) -> list[str]:
        """What the kernel has of the deployment, a line each."""
        found = [f"  process {describe(identity.pid)}" for identity in find_processes(self.traces())]
        found += [f"  mount {point}" for point in mount_points(self.layout.state)]
        found += [f"  network device {device}" for device in interfaces(self.layout.identity)]
        return found + [f"  control group {group}" for group in self.groups.find(f"{self.layout.identity}-")]

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


def purge_cache(layout: Layout) -> None:
    """Remove the cache, which all deployments share. Raises `LocalError` if a command or another deployment uses it."""
    for other in _others(layout):
        if _in_use(other):
            raise LocalError(
                f"the cache {layout.cache_base} is kept: deployment {other.name!r} uses it; remove that first: "
                f"{other.destroy_command}"
            )
    try:
        with BaseRoot(layout.cache_base / "base").reserved():
            remove_tree(layout.cache_base)
    except LockedError as error:
        raise LocalError(
            f"the cache {layout.cache_base} is kept: process {describe(error.holder)} makes a base root; try again "
            "when it has ended"
        ) from None


def _others(layout: Layout) -> Iterator[Layout]:
    """The other deployments that have a state directory or a lock."""
    names = {path.name.removeprefix(".").removesuffix(".lock") for path in _entries(layout.state_base)}
    for name in sorted(names - {layout.name}):
        with suppress(UsageError):  # somebody else's file
            yield Layout(name, layout.state_base, layout.cache_base)


def _in_use(layout: Layout) -> bool:
    """Whether the deployment's endpoint runs, or a command that may start it."""
    try:
        with locked(layout.lock) if layout.lock.exists() else nullcontext():
            return Endpoint(layout).running
    except LockedError:
        return True


def stop_command(pid: int, report: Callable[[str], None], grace: float = 60) -> None:
    """End another `up` of this deployment: SIGTERM lets it clean up, after `grace` seconds it is killed."""
    identity = identify(pid)
    if identity and pid != os.getpid():
        report(f"ending the unfinished command (process {describe(pid)})")
        terminate(identity, grace)
