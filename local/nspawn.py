"""Command lines of systemd-nspawn: one for a step in a build root, one to boot a machine.

`--register=no`: there may be no systemd-machined. Without a service manager on the host, `--keep-unit` leaves the
control group to us (see control_groups).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.control_groups import service_manager_runs
from local.processes import PROC


@dataclass(frozen=True)
class Mount:
    """A host path seen at another path inside."""

    source: Path
    target: str
    writable: bool = False

    def option(self) -> str:
        words = [str(self.source), self.target]
        return ("--bind=" if self.writable else "--bind-ro=") + ":".join(word.replace(":", r"\:") for word in words)


@dataclass(frozen=True)
class Environment:
    """What a build root sees beside its own files."""

    mounts: tuple[Mount, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def step_command(root: Path, unit: str, environment: Environment, argv: Sequence[str]) -> list[str]:
    """Run `argv` as root in `root` with the host's network; ends when it ends, and all that it started with it."""
    return [
        *_common(root, unit),
        "--as-pid2",
        "--suppress-sync=yes",  # what a crash would lose is built again anyway
        "--console=pipe",
        "--resolv-conf=copy-host",
        *(mount.option() for mount in environment.mounts),
        *(f"--setenv={name}={value}" for name, value in environment.variables.items()),
        "--",
        *argv,
    ]


def boot_command(root: Path, unit: str, *, namespace: Path, hostname: str) -> list[str]:
    """Boot the system in `root` inside the network namespace mounted on `namespace`.

    The namespace is the machine's own, so it may configure it (CAP_NET_ADMIN), as an instance may. The environment that
    makes the network's kernel settings writable is `boot_environment`.
    """
    return [
        *_common(root, unit),
        f"--network-namespace-path={namespace}",
        f"--hostname={hostname}",
        "--capability=CAP_NET_ADMIN",
        "--resolv-conf=off",
        "--link-journal=no",
        "--console=pipe",
        "--boot",
    ]


def boot_environment() -> dict[str, str]:
    """The variables systemd-nspawn itself needs for `boot_command`: /proc/sys/net is writable for sysctl.d files."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}


def _common(root: Path, unit: str) -> list[str]:
    manager = [] if service_manager_runs() else ["--keep-unit"]
    return [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        *manager,
        f"--directory={root}",
        f"--machine={unit}",
        "--timezone=off",
    ]


def leader(pid: int, proc: Path = PROC) -> int | None:
    """The process that is PID 1 inside the container of the systemd-nspawn process `pid`; None if there is none yet."""
    try:
        children = (proc / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii").split()
    except OSError:
        return None
    for child in children:
        try:
            status = (proc / child / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(numbers) > 1 and numbers[-1] == "1":
            return int(child)
    return None
