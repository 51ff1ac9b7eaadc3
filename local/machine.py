"""Machines: a copy of an image, booted as systemd in a network namespace of its own. On AWS this is an instance.

Each machine is two processes of the host: systemd-nspawn with the machine in it, and its metadata service.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from local.control_groups import ControlGroups
from local.errors import LocalError
from local.images import copy_tree, overlay_tree, remove_tree
from local.imds import ADDRESS as METADATA_ADDRESS
from local.imds import Metadata
from local.layout import REPOSITORY, Layout
from local.mounts import unmount_below
from local.network import Namespace, Network
from local.nspawn import boot_command, boot_environment, leader
from local.processes import Daemon, run_tool, tail, wait_until
from local.traces import MARKER, Traces, kill_all

_DESCRIPTION = "machine.json"
_BOOT_TIMEOUT = 60.0  # seconds
SHUTDOWN_GRACE = 15.0  # seconds
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineDescription(BaseModel):
    """What a machine was launched with. Without a resolver it is isolated: its cable leads nowhere.

    `instance_id` is that of the EC2 instance that the machine is, None if it is none. `certificate` is the path,
    inside, of the certificate that it makes for itself; None if it makes none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: str
    image: str
    image_id: str
    version: str
    instance_id: str | None = None
    address: IPv4Interface
    resolver: IPv4Address | None
    user_data: str | None
    certificate: str | None = None


@dataclass(frozen=True)
class Machine:
    """A launched machine. All that is known about it is on disk, so any process can load it."""

    layout: Layout
    description: MachineDescription
    groups: ControlGroups = field(default_factory=ControlGroups)

    @classmethod
    def load(cls, layout: Layout, name: str) -> Machine:
        """The machine `name`; raises `LocalError` if there is none."""
        try:
            text = (layout.machines / name / _DESCRIPTION).read_text(encoding="utf-8")
        except OSError:
            raise LocalError(f"there is no machine {name}") from None
        return cls(layout, MachineDescription.model_validate_json(text))

    @classmethod
    def find(cls, layout: Layout, name: str) -> Machine | None:
        """The machine `name`, None if there is none."""
        with suppress(LocalError):
            return cls.load(layout, name)
        return None

    def describe(self) -> None:
        """Make the machine's directory: from here on it is there for all who look."""
        self.directory.mkdir(mode=0o700)
        new = self.directory / f"{_DESCRIPTION}.new"
        new.write_text(self.description.model_dump_json(indent=2), encoding="utf-8")
        new.replace(self.directory / _DESCRIPTION)

    def launch(self, image_root: Path, network: Network | None, *, borrow: bool = False) -> None:
        """Copy the image, cable the machine to `network` (or nowhere) and boot it.

        `borrow` spares the copy for a machine that ends before its image changes. Returns when its PID 1 runs;
        `wait_booted` waits for its services. Raises `LocalError`.
        """
        if not self.directory.exists():
            self.describe()
        if borrow:
            overlay_tree(image_root, self.directory, self.root)
        else:
            copy_tree(image_root, self.root)
        self._prepare_root()
        self._prepare_network(network)
        self.start()

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def role(self) -> str:
        return self.description.role

    @property
    def address(self) -> IPv4Address:
        return self.description.address.ip

    @property
    def directory(self) -> Path:
        return self.layout.machines / self.name

    @property
    def root(self) -> Path:
        """The machine's root directory, seen from the host."""
        return self.directory / "root"

    @property
    def certificate(self) -> Path | None:
        """The file of the machine's own certificate, seen from the host; None if it is to have none."""
        inside = self.description.certificate
        return None if inside is None else self.root / inside.lstrip("/")

    @property
    def namespace(self) -> Namespace:
        return Namespace(self.layout.namespaces / self.name)

    @property
    def console(self) -> Path:
        """The log of what the machine wrote to its console."""
        return self.layout.logs / f"{self.name}.console.log"

    @property
    def unit(self) -> str:
        return self.layout.unit(self.name)

    @property
    def instance_id(self) -> str:
        return self.description.instance_id or "i-" + hashlib.sha256(self.unit.encode()).hexdigest()[:17]

    @property
    def _container(self) -> Daemon:
        return Daemon(f"machine {self.name}", self.layout.run / f"{self.name}.nspawn", self.console)

    @property
    def _metadata(self) -> Daemon:
        log = self.layout.logs / f"{self.name}.metadata.log"
        return Daemon(f"metadata service of {self.name}", self.layout.run / f"{self.name}.metadata", log)

    @property
    def leader(self) -> int | None:
        """The host's number of the machine's PID 1; None if it does not run."""
        identity = self._container.identity
        return leader(identity.pid) if identity else None

    @property
    def state(self) -> str:
        """`running` or `stopped`."""
        return "running" if self.leader else "stopped"

    def start(self) -> None:
        """Boot a machine that does not run. Returns when its PID 1 runs."""
        meta = self.directory / "metadata.json"
        self._metadata.start(
            self.namespace.enter([sys.executable, "-m", "local.imds", str(meta)]),
            directory=REPOSITORY,
            environment={"PATH": _PATH, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", MARKER: self.unit},
        )
        self._container.start(
            boot_command(self.root, self.unit, namespace=self.namespace.path, hostname=self.name),
            control_groups=self.groups.create(self.unit),
            environment={**boot_environment(), MARKER: self.unit},
        )
        if not wait_until(lambda: self.leader is not None or self._container.identity is None, 20) or not self.leader:
            raise LocalError(f"machine {self.name} did not start:\n{tail(self.console)}")

    def wait_booted(self, timeout: float = _BOOT_TIMEOUT) -> list[str]:
        """Wait until the machine has finished booting; returns the units that failed, which need not be fatal.

        Raises `LocalError` with the journal's end if it stops or does not finish within `timeout` seconds.
        """

        def finished() -> bool:
            if not self.leader:
                raise LocalError(f"machine {self.name} stopped while it booted:\n{self.journal(lines=40)}")
            return self._system_state() in ("running", "degraded")

        if not wait_until(finished, timeout, 0.1):
            jobs = self.run(["systemctl", "list-jobs", "--no-pager"]).stdout
            raise LocalError(
                f"machine {self.name} did not finish booting in {timeout:.0f} s; it waits for:\n{jobs}\n"
                f"{self.journal(lines=40)}"
            )
        return self.failed_units()

    def failed_units(self) -> list[str]:
        """The names of the units that failed."""
        done = self.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"])
        return [line.split()[0] for line in done.stdout.splitlines() if line.split()]

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside, as root, with a clean environment; raises `LocalError` if stopped."""
        inside = self.leader
        if inside is None:
            raise LocalError(f"machine {self.name} does not run")
        variables = [f"PATH={_PATH}", "HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8"]
        if "TERM" in os.environ:
            variables.append(f"TERM={os.environ['TERM']}")
        return ["nsenter", f"--target={inside}", "--all", "--", "env", "-i", *variables, *argv]

    def run(
        self, argv: Sequence[str], *, input: str | None = None, timeout: float | None = 60, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root, and return its output; see `subprocess.run`."""
        return subprocess.run(
            self.enter(argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=check,
        )

    def journal(self, unit: str | None = None, lines: int = 50) -> str:
        """The last lines of the machine's journal, of one unit or all; also of a stopped machine."""
        choice = [f"--unit={unit}"] if unit else []
        return run_tool(
            [*self.journal_command(), f"--lines={lines}", *choice], what=f"reading the journal of {self.name}"
        )

    def journal_command(self) -> list[str]:
        """The command that prints the journal; takes further options of journalctl(1)."""
        if self.leader:
            return [*self.enter(["journalctl", "--no-pager"])]
        return ["journalctl", "--no-pager", f"--directory={self.root / 'var/log/journal'}"]

    def stop(self, grace: float = SHUTDOWN_GRACE) -> None:
        """Shut the machine down; what does not end in `grace` seconds is killed. Its disk stays."""
        self._container.stop(grace)
        self._metadata.stop()
        # systemd as PID 1 outlives a killed systemd-nspawn.
        kill_all(Traces.of([self.root], [self.namespace.path], self.unit))
        self.groups.remove(self.unit)

    def remove(self, grace: float = SHUTDOWN_GRACE) -> None:
        """Stop the machine and remove its disk, cable and namespace. Its logs stay."""
        self.stop(grace)
        self.namespace.remove()
        unmount_below(self.directory)
        remove_tree(self.directory)

    def _system_state(self) -> str:
        return self.run(["systemctl", "is-system-running"]).stdout.strip()

    def _prepare_root(self) -> None:
        """What an instance has of its own: an identity, a name server, a journal that survives it."""
        etc = self.root / "etc"
        if etc.is_symlink():
            raise LocalError(f"image {self.description.image}: /etc is a link")
        (etc / "machine-id").unlink(missing_ok=True)
        (etc / "machine-id").touch()
        (etc / "resolv.conf").unlink(missing_ok=True)
        resolver = self.description.resolver or self.address
        (etc / "resolv.conf").write_text(f"nameserver {resolver}\noptions timeout:1 attempts:2\n", encoding="ascii")
        (self.root / "var/log/journal").mkdir(exist_ok=True)
        metadata = Metadata(
            instance_id=self.instance_id,
            image_id=self.description.image_id,
            local_ipv4=str(self.address),
            user_data=self.description.user_data,
        )
        path = self.directory / "metadata.json"
        path.write_text(metadata.to_json(), encoding="utf-8")

    def _prepare_network(self, network: Network | None) -> None:
        self.namespace.create()
        self.namespace.add_loopback_address(METADATA_ADDRESS)
        if network:
            self.namespace.connect(network, self.layout.interface(network.number(self.address)), self.address)
        else:
            self.namespace.isolate(self.description.address)
