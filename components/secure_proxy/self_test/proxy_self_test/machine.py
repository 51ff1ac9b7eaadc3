"""The machine under test: its settings, its units, and leaving it as it was found."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

IMAGE_ENVIRONMENT = Path("/etc/secure-proxy/image.env")
INSTANCE_ENVIRONMENT = Path("/etc/secure-proxy/instance.env")
CONFIGURE = "/usr/libexec/secure-proxy/configure"
DROP_IN = Path("/run/systemd/system/secure-proxy-configure.service.d/self-test.conf")
METRICS_LOGS = Path("/var/log/secure-proxy")
UNITS = ("nginx.service", "secure-proxy-configure.service")


class SelfTestError(Exception):
    """An expectation that does not hold, or a machine that must not be tested."""


def systemctl(*arguments: str, check: bool = True) -> str:
    """Runs systemctl and returns what it printed. Raises SelfTestError when it fails and `check` is set."""
    result = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if check and result.returncode:
        raise SelfTestError(f"systemctl {' '.join(arguments)} failed: {result.stderr.strip()}")
    return result.stdout.strip()


def journal(lines: int = 40) -> str:
    """The last lines that the units and the proxy wrote."""
    arguments = ["journalctl", "--no-pager", "--quiet", "--boot", f"--lines={lines}"]
    for unit in UNITS:
        arguments += ["--unit", unit]
    return subprocess.run(arguments, capture_output=True, text=True, check=False).stdout


class Machine:
    """Paths and ports of the image, read from the parameters it was built with."""

    def __init__(self, environment: Path = IMAGE_ENVIRONMENT) -> None:
        lines = environment.read_text(encoding="utf-8").splitlines()
        self.settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        self.jail = Path(self.settings["JAIL_BASE_DIR"])
        self.configuration = self.jail / self.settings["PROXY_BASE_DIR"].lstrip("/")
        self.certificate = self.configuration / "certs/servercert.pem"
        self.logs = self.configuration / "logs"

    def port(self, name: str) -> int:
        return int(self.settings[name])

    def is_source_build(self) -> bool:
        return self.settings["NGINX_BUILD"] == "source"

    def refuse_when_in_service(self) -> None:
        """The test replaces the configuration, so it runs only where there is none."""
        if INSTANCE_ENVIRONMENT.exists():
            raise SelfTestError(f"{INSTANCE_ENVIRONMENT} exists: this machine has been configured for service")
        if systemctl("is-active", "nginx.service", check=False) == "active":
            raise SelfTestError("nginx.service is active: this machine is in service")

    def start(self, environment: Mapping[str, str], directory: Path) -> None:
        """Lets the boot configuration read `environment` instead of user data, and starts NGINX as a boot does."""
        # At boot the unit found no user data, or is still waiting for the metadata service.
        systemctl("stop", *UNITS)
        file = directory / "instance.env"
        file.write_text("".join(f"{key}={shlex.quote(value)}\n" for key, value in environment.items()))
        DROP_IN.parent.mkdir(parents=True, exist_ok=True)
        DROP_IN.write_text(f"[Service]\nExecStart=\nExecStart={CONFIGURE} --environment {file}\n")
        systemctl("daemon-reload")
        systemctl("reset-failed", *UNITS, check=False)
        systemctl("start", "nginx.service")

    def stop(self) -> None:
        systemctl("stop", *UNITS)
        with suppress(FileNotFoundError):
            DROP_IN.unlink()
            DROP_IN.parent.rmdir()
        systemctl("daemon-reload")
        systemctl("reset-failed", *UNITS, check=False)

    def entries(self) -> set[Path]:
        """Every path of the jail and of the image's settings."""
        found = set()
        for top in (self.jail, IMAGE_ENVIRONMENT.parent, METRICS_LOGS):
            for directory, subdirectories, files in os.walk(top):
                found |= {Path(directory) / name for name in subdirectories + files}
        return found

    @contextmanager
    def left_as_found(self) -> Iterator[None]:
        """Removes what appeared meanwhile, keys and certificates first of all, and empties the logs."""
        before = self.entries()
        try:
            yield
        finally:
            self.stop()
            for path in sorted(self.entries() - before, reverse=True):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
            for path in [*self.logs.iterdir(), *METRICS_LOGS.glob("*.log")]:
                os.truncate(path, 0)


def get_when_ready(url: str, *, deadline: float) -> int:
    """The status of `url` once it is 200, or the last one seen at `deadline` (time.monotonic() seconds).

    Raises SelfTestError when nothing answers until then.
    """
    reason: Any = None
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
                return int(response.status)
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.read(200).decode(errors='replace').strip()}"
        except OSError as error:
            reason = error
        time.sleep(0.5)
    raise SelfTestError(f"{url} is not ready: {reason}")


def policy(provider: str, issuer: str, authorizer: str) -> str:
    """The instance's policy: one provider, everything else as in the product's defaults."""
    authentication = {"provider": provider, "issuer": issuer, "authorizerUrl": authorizer}
    return json.dumps({"authentication": authentication, "limits": {}})
