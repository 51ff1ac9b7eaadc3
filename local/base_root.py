"""The base root: a minimal Debian system that resembles a cloud image, made once and cached.

Made with mmdebstrap (about 40 s with nothing cached, against 60 to 80 s for debootstrap).
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError
from local.images import remove_tree
from local.locks import LockedError, locked
from local.mounts import unmount_below
from local.processes import tail
from local.progress import Progress
from local.targets import CancelledError
from local.traces import MARKER, Traces, kill_all

SUITE = "trixie"
DEFAULT_MIRROR = "http://deb.debian.org"

# What a cloud image has before any component runs.
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "openssl",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)

_FORMAT = "1"  # raise when what is done here changes the result


@dataclass(frozen=True)
class BaseRoot:
    """The cached base root below `directory`, from the Debian mirror `mirror` (http:// or https://)."""

    directory: Path
    mirror: str = DEFAULT_MIRROR

    @property
    def key(self) -> str:
        """Identifies the content: other packages, suite or mirror make another root."""
        words = "\n".join([_FORMAT, SUITE, self.mirror, *PACKAGES])
        return f"{SUITE}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"

    @property
    def _unit(self) -> str:
        return f"base-root-{hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]}"

    @property
    def path(self) -> Path:
        return self.directory / self.key

    def ensure(self, log: Path, progress: Progress, cancel: threading.Event) -> Path:
        """The root's path; made if it is not there. Two runs at once make it once. Raises `LocalError`."""
        with locked(self._lock, wait=True, parents=True):
            if self.path.is_dir():
                return self.path
            self._discard_partial()
            partial = self.directory / f"{self.key}.partial"
            try:
                with progress.step("base root", f"Debian {SUITE}"):
                    self._make(partial, log, cancel)
                partial.rename(self.path)
            finally:
                self._discard_partial()
        return self.path

    @property
    def _lock(self) -> Path:
        return self.directory / "lock"

    def reserved(self) -> AbstractContextManager[None]:
        """Nobody makes a base root for the length of the block. Raises `LockedError` if somebody does."""
        return locked(self._lock, parents=True)

    def discard_partial(self) -> None:
        """Remove what a run that was killed left half made; nothing happens while another run is at it."""
        if self.directory.is_dir():
            with suppress(LockedError), self.reserved():
                self._discard_partial()

    def _discard_partial(self) -> None:
        """Called with the lock held: whoever still works on a partial root does so for nobody."""
        kill_all(Traces.of(self.directory.glob("*.partial"), [], self._unit))
        for remains in self.directory.glob("*.partial"):
            unmount_below(remains)
            remove_tree(remains)

    def _make(self, target: Path, log: Path, cancel: threading.Event) -> None:
        with log.open("ab") as output:
            process = subprocess.Popen(
                self._command(target),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, "LC_ALL": "C.UTF-8", MARKER: self._unit},
                start_new_session=True,
            )
        try:
            assert process.stdin is not None  # noqa: S101  (opened as a pipe above)
            with process.stdin as stdin:
                stdin.write(self._sources().encode())
            while process.poll() is None:
                if cancel.is_set():
                    raise CancelledError("interrupted")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            raise LocalError(
                f"the Debian base root could not be made from {self.mirror} (mmdebstrap, exit code "
                f"{process.returncode}):\n{tail(log)}\n  whole log: {log}; is the mirror reachable? "
                "--debian-mirror names another"
            )

    def _sources(self) -> str:
        return "".join(
            f"deb {self.mirror}/{archive} {suite} main\n"
            for archive, suite in (
                ("debian", SUITE),
                ("debian", f"{SUITE}-updates"),
                ("debian-security", f"{SUITE}-security"),
            )
        )

    def _command(self, target: Path) -> list[str]:
        return [
            *("setpriv", "--pdeathsig", "TERM", "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"),
            f"--include={','.join(PACKAGES)}",
            "--skip=cleanup/apt/lists",  # a build's `apt-get update` then finds them unchanged
            '--aptopt=Acquire::Languages "none"',
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")),
            *(SUITE, str(target), "-"),
        ]
