"""Where a component document's steps run: a build root, or a booted machine. Both are `executor.Target`s."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from local.errors import LocalError
from local.executor import StepTimeoutError
from local.nspawn import Environment, leader, step_command
from local.traces import MARKER

_POLL = 0.05  # seconds


class CancelledError(LocalError):
    """The user asked to stop."""


@dataclass(frozen=True)
class BuildRoot:
    """The root directory of an image in the making; each step is a container of its own on it.

    `control_groups` are the `cgroup.procs` files that it joins; `cancel`, once set, ends the step with
    `CancelledError`.
    """

    root: Path
    unit: str
    environment: Environment
    control_groups: Sequence[Path]
    cancel: threading.Event

    def execute(
        self, argv: Sequence[str], *, stdin: bytes | BinaryIO, timeout: float | None, output: Callable[[bytes], object]
    ) -> int:
        """Run `argv` in the root; see `executor.Target`. Ends with us should we be killed."""
        command = step_command(self.root, self.unit, self.environment, argv)
        join = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
        wrapped = ["sh", "-euc", join, "sh", *map(str, self.control_groups), "--"]
        # SIGTERM, because systemd-nspawn takes its container with it then, and not when it is killed.
        wrapped += ["setpriv", "--pdeathsig", "TERM", *command]
        return _execute(wrapped, stdin, timeout, output, self.cancel, _end_container, {**os.environ, MARKER: self.unit})


@dataclass(frozen=True)
class BootedMachine:
    """A machine that runs: `enter` makes of a command the one that runs it inside."""

    enter: Callable[[Sequence[str]], list[str]]
    cancel: threading.Event

    def execute(
        self, argv: Sequence[str], *, stdin: bytes | BinaryIO, timeout: float | None, output: Callable[[bytes], object]
    ) -> int:
        """Run `argv` in the machine; see `executor.Target`. A process that left the session survives a timeout."""
        return _execute(self.enter(argv), stdin, timeout, output, self.cancel, _end_session)


def _execute(
    argv: Sequence[str],
    stdin: bytes | BinaryIO,
    timeout: float | None,
    output: Callable[[bytes], object],
    cancel: threading.Event,
    end: Callable[[subprocess.Popen[bytes]], None],
    environment: Mapping[str, str] | None = None,
) -> int:
    deadline = None if timeout is None else time.monotonic() + timeout
    with tempfile.TemporaryFile() as spool:
        if isinstance(stdin, bytes):
            spool.write(stdin)
            spool.seek(0)
        source = spool if isinstance(stdin, bytes) else stdin
        process = subprocess.Popen(
            argv,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        pump = threading.Thread(target=_pump, args=(process, output), daemon=True)
        pump.start()
        try:
            while process.poll() is None:
                if cancel.is_set():
                    raise CancelledError("interrupted")
                if deadline is not None and time.monotonic() >= deadline:
                    raise StepTimeoutError
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL)
        finally:
            if process.poll() is None:
                end(process)
            # A process that was left behind may hold the pipe: what it has still to say is not the step's.
            pump.join(timeout=2)
    return process.returncode


def _pump(process: subprocess.Popen[bytes], output: Callable[[bytes], object]) -> None:
    assert process.stdout is not None  # noqa: S101  (opened as a pipe above)
    with process.stdout as stream, suppress(ValueError):  # the log may be closed once the step is over
        while chunk := os.read(stream.fileno(), 64 * 1024):
            output(chunk)


def _end_container(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
        return
    inside = leader(process.pid)
    if inside is not None:
        with suppress(ProcessLookupError):
            os.kill(inside, signal.SIGKILL)
    process.kill()
    process.wait()


def _end_session(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
