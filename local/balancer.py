"""Load balancers: HAProxy in TCP mode, standing in for an AWS Network Load Balancer (NLB).

As an NLB does: bytes pass unchanged; a connection may idle 350 s; targets are checked for health at a port and path
of their own; if none is healthy, all get traffic all the same ("fail open"); if none even accepts a connection, the
client is refused. HAProxy accepts before it connects, so that last property needs `gate.lua`, which stops a listener
without targets. And it takes a target that it has not asked yet for healthy, as an NLB does not: the states that
it starts with tell it otherwise (target_states).

Otherwise than an NLB: connections come from the host's address, checks are every half second instead of 5 to 300 s, and
established connections of a target that became unhealthy are left alone.
"""

from __future__ import annotations

import csv
import io
import pwd
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from local.errors import LocalError
from local.processes import Daemon, run_tool, signal_process, wait_until
from local.target_states import initial_states
from local.traces import MARKER

_GATE = Path(__file__).with_name("gate.lua")
_CHECK = "inter 500ms fastinter 200ms downinter 500ms rise 1 fall 2"
# A failed connection counts as a failed check, at once.
_OBSERVE = "observe layer4 error-limit 1 on-error mark-down"


@dataclass(frozen=True)
class HealthCheck:
    """How a target's health is asked: an HTTP path that answers 200, or (no path) a TCP connection; the port is the
    traffic's own where none is given."""

    port: int | None = None
    path: str | None = None


@dataclass(frozen=True)
class BalancerTarget:
    """Where connections go."""

    name: str
    address: IPv4Address
    port: int


@dataclass(frozen=True)
class Listener:
    """A port of the balancer and the target group behind it."""

    port: int
    targets: tuple[BalancerTarget, ...]
    health_check: HealthCheck = HealthCheck()


@dataclass(frozen=True)
class TargetHealth:
    """What a balancer thinks of a target; `reason` says why it is not healthy.

    `asked` is whether it has a verdict; without one the target is not healthy.
    """

    listener_port: int
    target: str
    healthy: bool
    reason: str
    asked: bool = True


def render(name: str, address: IPv4Address, listeners: Sequence[Listener], run: Path, user: str | None) -> str:
    """HAProxy's configuration. `user` is whom it becomes once its ports are bound."""
    lines = [
        "global",
        f"    stats socket {run / name}.sock mode 600 level admin" + (f" user {user}" if user else ""),
        f"    server-state-file {run / name}.states",
        f"    setenv GATE_SOCKET {run / name}.sock",
        f"    lua-load {_quoted(_GATE)}",
        "    log stderr format raw daemon",
    ]
    if user:
        lines.append(f"    user {user}")
    lines += [
        "",
        "defaults",
        "    mode tcp",
        "    load-server-state-from-file global",
        "    log global",
        "    option tcplog",  # a line when a connection ends, not one when it begins
        "    option dontlognull",
        "    option dontlog-normal",  # what failed is worth a line, what went well is not
        "    timeout connect 5s",
        "    timeout client 350s",
        "    timeout server 350s",
        "    timeout check 2s",
        "    retries 1",
        f"    default-server {_CHECK}",
    ]
    for listener in sorted(listeners, key=lambda listener: listener.port):
        lines += _listener(address, listener)
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """One word of the configuration, whatever the path holds (HAProxy configuration manual, 2.2, strong quotes)."""
    return "'" + str(path).replace("'", r"'\''") + "'"


def _listener(address: IPv4Address, listener: Listener) -> list[str]:
    port, check = listener.port, listener.health_check
    asked = f" port {check.port}" if check.port else ""
    http = [f"    option httpchk GET {check.path}", "    http-check expect status 200"] if check.path else []
    return [
        "",
        f"frontend listener_{port}",
        f"    bind {address}:{port}",
        f"    use_backend healthy_{port} if {{ nbsrv(healthy_{port}) gt 0 }}",
        f"    default_backend any_{port}",
        "",
        f"backend healthy_{port}",
        *http,
        *(f"    server {target.name} {target.address}:{target.port} check{asked}" for target in listener.targets),
        "",
        f"backend any_{port}",
        *(f"    server {target.name} {target.address}:{target.port} check {_OBSERVE}" for target in listener.targets),
    ]


@dataclass(frozen=True)
class Balancer:
    """One load balancer. `unit` marks its processes; `run` and `logs` are directories."""

    name: str
    address: IPv4Address
    unit: str
    run: Path
    logs: Path

    @property
    def _daemon(self) -> Daemon:
        return Daemon(
            f"load balancer {self.name}", self.run / f"{self.name}.haproxy", self.logs / f"{self.name}.haproxy.log"
        )

    @property
    def configuration(self) -> Path:
        return self.run / f"{self.name}.cfg"

    @property
    def running(self) -> bool:
        return self._daemon.identity is not None

    def apply(self, listeners: Sequence[Listener]) -> None:
        """Make `listeners` the balancer's, starting it if need be. Established connections go on.

        Raises `LocalError` if HAProxy refuses the configuration, which leaves the former in force.
        """
        text = render(self.name, self.address, listeners, self.run, _unprivileged())
        if self.running and self._unchanged(text):
            return
        servers = [
            (backend, target.name, str(target.address), target.port)
            for listener in listeners
            for target in listener.targets
            for backend in (f"healthy_{listener.port}", f"any_{listener.port}")
        ]
        states = self.run / f"{self.name}.states"
        states.write_text(initial_states(servers, self._states()), encoding="utf-8")
        states.chmod(0o644)
        candidate = self.configuration.with_suffix(".new")
        candidate.write_text(text, encoding="utf-8")
        run_tool(["haproxy", "-c", "-q", "-f", str(candidate)], what=f"checking load balancer {self.name}")
        candidate.replace(self.configuration)
        identity = self._daemon.identity
        if identity is None:
            self._daemon.start(
                ["haproxy", "-W", "-f", str(self.configuration)],
                environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", MARKER: self.unit},
            )
            self._wait_answers()
            return
        worker = self._worker()
        signal_process(identity, signal.SIGUSR2)
        if not wait_until(lambda: self._worker() not in (None, worker), 10):
            raise LocalError(f"load balancer {self.name} did not take its new listeners:\n{self._daemon.tail()}")

    def health(self) -> list[TargetHealth]:
        """The health of every target; empty if the balancer does not run."""
        try:
            text = self._command("show stat")
        except OSError:
            return []
        rows = {(row["pxname"], row["svname"]): row for row in csv.DictReader(io.StringIO(text.removeprefix("# ")))}
        found = []
        for (backend, target), row in rows.items():
            kind, _, port = backend.partition("_")
            if kind == "healthy" and target != "BACKEND":
                checks = row["check_status"], rows[f"any_{port}", target]["check_status"]
                # While the gate is shut, clients are refused.
                open_ = rows[f"listener_{port}", "FRONTEND"]["status"] == "OPEN"
                up, asked = row["status"].startswith("UP"), not {"INI", ""} & set(checks)
                healthy = up and asked and open_
                reason = f"{row['check_status']} {row['last_chk'] or ''} {row['check_code']}".strip()
                found.append(TargetHealth(int(port), target, healthy, "" if healthy else reason, asked and open_ >= up))
        return found

    def stop(self) -> None:
        """End the balancer with all its connections."""
        self._daemon.stop(grace=2)
        (self.run / f"{self.name}.sock").unlink(missing_ok=True)

    def _unchanged(self, text: str) -> bool:
        with suppress(OSError):
            return self.configuration.read_text(encoding="utf-8") == text
        return False

    def _states(self) -> str:
        """What the running process says of its targets; empty if there is none."""
        with suppress(OSError):
            return self._command("show servers state")
        return ""

    def _wait_answers(self) -> None:
        if not wait_until(lambda: self._worker() is not None or not self.running, 10) or not self.running:
            raise LocalError(f"load balancer {self.name} did not start:\n{self._daemon.tail()}")

    def _worker(self) -> str | None:
        """The number of the process that answers now."""
        with suppress(OSError):
            for line in self._command("show info").splitlines():
                if line.startswith("Pid:"):
                    return line.split()[1]
        return None

    def _command(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self.run / f"{self.name}.sock"))
            connection.sendall(f"{command}\n".encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode(errors="replace")


def _unprivileged() -> str | None:
    """The account that the haproxy package made, if it did."""
    with suppress(KeyError):
        return pwd.getpwnam("haproxy").pw_name
    return None
