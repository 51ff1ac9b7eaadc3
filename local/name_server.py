"""The deployment's name server: dnsmasq, which knows its own names and asks nobody else."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from local.errors import LocalError
from local.processes import Daemon, run_tool, signal_process, wait_until
from local.traces import MARKER

DOMAIN = "secure-proxy.internal"
TIME_TO_LIVE = 1  # seconds


@dataclass(frozen=True)
class NameServer:
    """Answers for `DOMAIN` at `address`, port 53. `unit` marks its process; `run` and `logs` are directories."""

    address: IPv4Address
    unit: str
    run: Path
    logs: Path

    @property
    def _hosts(self) -> Path:
        return self.run / "names"

    @property
    def _daemon(self) -> Daemon:
        return Daemon("name server", self.run / "names.dnsmasq", self.logs / "names.dnsmasq.log")

    @property
    def running(self) -> bool:
        return self._daemon.identity is not None

    def start(self, names: Mapping[str, IPv4Address]) -> None:
        """Start serving `names`. Raises `LocalError` if the port is taken."""
        self._write(names)
        options = [
            *("--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--log-facility=-"),
            *("--no-resolv", "--no-hosts", f"--addn-hosts={self._hosts}", f"--local=/{DOMAIN}/", "--domain-needed"),
            *(f"--listen-address={self.address}", "--bind-interfaces", "--except-interface=lo"),
            f"--local-ttl={TIME_TO_LIVE}",
        ]
        self._daemon.start(
            ["dnsmasq", *options], environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", MARKER: self.unit}
        )
        if not wait_until(lambda: self._listens() or not self.running, 10) or not self.running:
            raise LocalError(f"the name server did not start:\n{self._daemon.tail()}")

    def names(self) -> dict[str, IPv4Address]:
        """What is served now."""
        pairs = (line.split() for line in self._hosts.read_text(encoding="ascii").splitlines())
        return {name: IPv4Address(address) for address, name in pairs}

    def set(self, name: str, address: IPv4Address) -> None:
        """Let `name` be answered with `address` from now on; clients may hold the former for `TIME_TO_LIVE` seconds."""
        self._write({**self.names(), name: address})
        identity = self._daemon.identity
        if identity:
            signal_process(identity, signal.SIGHUP)

    def stop(self) -> None:
        self._daemon.stop()

    def _write(self, names: Mapping[str, IPv4Address]) -> None:
        new = self._hosts.with_suffix(".new")
        new.write_text("".join(f"{address} {name}\n" for name, address in sorted(names.items())), encoding="ascii")
        new.chmod(0o644)  # dnsmasq reads it again under its own account
        new.replace(self._hosts)

    def _listens(self) -> bool:
        output = run_tool(
            ["ss", "--no-header", "--udp", "--listening", "--numeric"], what="looking for the name server"
        )
        return f"{self.address}:53 " in output
