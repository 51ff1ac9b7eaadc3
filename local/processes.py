"""Processes that outlive the command that started them: their identity, start and end.

A process is known by its number and its start time (proc(5), `stat` field 22), so that a number that the kernel gave to
another process is never taken for ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError

PROC = Path("/proc")

# Writes the shell's own stat line before it becomes the program, so that there is no moment without a record.
_LAUNCHER = """
record=$1; shift
cat "/proc/$$/stat" >"$record.new"; mv "$record.new" "$record"
while [ "$1" != -- ]; do echo $$ >"$1"; shift; done
shift
exec "$@"
"""


@dataclass(frozen=True)
class Identity:
    """A process: its number and its start time in clock ticks since boot."""

    pid: int
    started: int


def parse_stat(text: str) -> tuple[Identity, str]:
    """The identity and state letter in a line of `/proc/PID/stat`; raises `ValueError` if it is not one."""
    number, _, rest = text.partition(" (")
    _, closed, after = rest.rpartition(") ")
    fields = after.split()
    if not closed or len(fields) < 20:
        raise ValueError(f"not a stat line: {text!r}")
    return Identity(int(number), int(fields[19])), fields[0]


def identify(pid: int, proc: Path = PROC) -> Identity | None:
    """The identity of the live process `pid`; None if there is none (a zombie is not live)."""
    try:
        identity, state = parse_stat((proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else identity


def alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def read_record(path: Path) -> Identity | None:
    """The identity that a daemon's record holds; None without a readable record."""
    try:
        return parse_stat(path.read_text(encoding="utf-8", errors="replace"))[0]
    except (OSError, ValueError):
        return None


def signal_process(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to that very process; False if it has ended."""
    if not alive(identity):
        return False
    try:
        os.kill(identity.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Poll `condition` until it holds (True) or `timeout` seconds have passed (False)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True


def terminate(identity: Identity, grace: float) -> None:
    """End a process: SIGTERM, after `grace` seconds SIGKILL. Returns when it has ended; raises if it will not."""
    signal_process(identity, signal.SIGTERM)
    if wait_until(lambda: not alive(identity), grace):
        return
    signal_process(identity, signal.SIGKILL)
    if not wait_until(lambda: not alive(identity), 10):
        raise LocalError(f"process {identity.pid} does not end, not even by SIGKILL; it hangs in the kernel")


@dataclass(frozen=True)
class Daemon:
    """A program that runs on its own: its record (a file), its log, and how to start and end it."""

    name: str
    record: Path
    log: Path

    @property
    def identity(self) -> Identity | None:
        """The recorded process if it runs."""
        found = read_record(self.record)
        return found if found and alive(found) else None

    def start(
        self,
        argv: Sequence[str],
        *,
        control_groups: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        directory: Path = Path("/"),
    ) -> Identity:
        """Start `argv` detached, in a session of its own, with its output appended to the log.

        `control_groups` are `cgroup.procs` files that it joins before it becomes the program.
        Raises `LocalError` if it runs already or does not start.
        """
        if self.identity:
            raise LocalError(f"{self.name} runs already, as process {self.identity.pid}")
        self.record.unlink(missing_ok=True)
        launcher = ["setsid", "--fork", "sh", "-eu", "-c", _LAUNCHER, "sh", str(self.record), *map(str, control_groups)]
        with self.log.open("ab") as log:
            done = subprocess.run(
                [*launcher, "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment) if environment is not None else None,
                cwd=directory,
                check=False,
            )
        wait_until(self.record.exists, 10, 0.01)
        identity = read_record(self.record)
        if done.returncode != 0 or identity is None:
            raise LocalError(f"{self.name} did not start; see {self.log}")
        return identity

    def stop(self, grace: float = 10) -> None:
        """End the process if it runs, and forget it."""
        identity = self.identity
        if identity:
            terminate(identity, grace)
        self.record.unlink(missing_ok=True)

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return tail(self.log, lines)


def tail(path: Path, lines: int = 20, offset: int = 0) -> str:
    """The last `lines` lines of the text file `path` after byte `offset`; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset, size - 64 * 1024))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def run_tool(argv: Sequence[str], *, what: str, input_text: str | None = None) -> str:
    """Run a system tool and return its output; raises `LocalError` with `what` and the tool's words if it fails."""
    try:
        done = subprocess.run(argv, input=input_text, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise LocalError(
            f"{what}: {argv[0]} is not installed; .venv/bin/python -m local prerequisites names its package"
        ) from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise LocalError(f"{what}: {' '.join(argv)}: {words}")
    return done.stdout
