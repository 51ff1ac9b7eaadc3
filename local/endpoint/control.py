"""Starting and stopping the endpoint of a deployment, and how programs find it."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from local.base_root import DEFAULT_MIRROR
from local.downloads import registry_access
from local.endpoint.account import ACCOUNT, HOST, REGION, environment
from local.errors import LocalError
from local.layout import REPOSITORY, Layout
from local.processes import Daemon, wait_until
from local.traces import MARKER

_READY_WITHIN = 60  # seconds; it takes about three


@dataclass(frozen=True)
class Endpoint:
    """The endpoint of the deployment with that layout. It builds images from packages of the Debian `mirror`."""

    layout: Layout
    mirror: str = DEFAULT_MIRROR

    @property
    def running(self) -> bool:
        return self._daemon.identity is not None

    @property
    def url(self) -> str:
        """Where it answers. Raises `LocalError` if it was never started."""
        return f"http://localhost:{self._port()}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which AWS SDKs, the CDK CLI and `deployment` use the endpoint and nothing of the user's."""
        return {**environment(self._port()), "CDK_DEFAULT_ACCOUNT": ACCOUNT, "CDK_DEFAULT_REGION": REGION}

    def start(self) -> None:
        """Start it on a free port and wait until it answers. Raises `LocalError` if it does not."""
        port = _free_port()
        self._record.write_text(json.dumps({"port": port}), encoding="ascii")
        self._daemon.start(
            [
                *(sys.executable, "-m", "local.endpoint", "--name", self.layout.name, "--port", str(port)),
                *("--debian-mirror", self.mirror),
            ],
            environment={
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": "C.UTF-8",
                **registry_access(os.environ),  # for the images that it builds
                MARKER: self.layout.unit("endpoint"),
                **environment(port),
            },
            directory=REPOSITORY,
        )
        if not wait_until(lambda: self._answers() or not self.running, _READY_WITHIN) or not self.running:
            words = self._daemon.tail()
            self.stop()
            raise LocalError(f"the local AWS endpoint did not start; {self._daemon.log} ends with:\n{words}")

    def stop(self) -> None:
        """End it; what was deployed on it is forgotten."""
        self._daemon.stop()
        self._record.unlink(missing_ok=True)

    @property
    def _daemon(self) -> Daemon:
        return Daemon("local AWS endpoint", self.layout.run / "endpoint", self.layout.logs / "endpoint.log")

    @property
    def _record(self) -> Path:
        return self.layout.run / "endpoint.json"

    def _port(self) -> int:
        try:
            return int(json.loads(self._record.read_text(encoding="ascii"))["port"])
        except (OSError, ValueError, KeyError):
            raise LocalError(
                f"deployment {self.layout.name!r} has no local AWS endpoint; {self.layout.deploy_command} starts one"
            ) from None

    def _answers(self) -> bool:
        directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with directly.open(f"{self.url}/favicon.ico", timeout=10):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
