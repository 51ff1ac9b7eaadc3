"""The base root: a minimal Debian system that resembles a cloud image, made once and cached.

Made with mmdebstrap (about 40 s with nothing cached, against 60 to 80 s for debootstrap).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError
from local.locks import locked
from local.processes import tail
from local.progress import Progress
from local.targets import CancelledError

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
    def path(self) -> Path:
        return self.directory / self.key

    def ensure(self, log: Path, progress: Progress, cancel: threading.Event) -> Path:
        """The root's path; made if it is not there. Two runs at once make it once. Raises `LocalError`."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        with locked(self.directory / "lock", wait=True):
            if self.path.is_dir():
                return self.path
            for remains in self.directory.glob("*.partial"):
                shutil.rmtree(remains)
            partial = self.directory / f"{self.key}.partial"
            with progress.step("base root", f"Debian {SUITE}"):
                self._make(partial, log, cancel)
            partial.rename(self.path)
        return self.path

    def _make(self, target: Path, log: Path, cancel: threading.Event) -> None:
        sources = [
            f"deb {self.mirror}/debian {SUITE} main",
            f"deb {self.mirror}/debian {SUITE}-updates main",
            f"deb {self.mirror}/debian-security {SUITE}-security main",
        ]
        command = [
            *("setpriv", "--pdeathsig", "TERM", "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"),
            f"--include={','.join(PACKAGES)}",
            "--skip=cleanup/apt/lists",  # a build's `apt-get update` then finds them unchanged
            '--aptopt=Acquire::Languages "none"',
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")),
            *(SUITE, str(target), "-"),
        ]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env={**os.environ, "LC_ALL": "C.UTF-8"}
            )
        assert process.stdin is not None  # noqa: S101  (opened as a pipe above)
        with process.stdin as stdin:
            stdin.write("\n".join(sources).encode())
        while True:
            try:
                code = process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                if cancel.is_set():
                    process.terminate()
                    process.wait()
                    shutil.rmtree(target, ignore_errors=True)
                    raise CancelledError("interrupted") from None
        if code != 0:
            shutil.rmtree(target, ignore_errors=True)
            raise LocalError(
                f"the Debian base root could not be made from {self.mirror} (mmdebstrap, exit code {code}):\n"
                f"{tail(log)}\n  whole log: {log}; is the mirror reachable? --debian-mirror names another"
            )
