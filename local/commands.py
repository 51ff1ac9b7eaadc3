"""Commands that talk to a deployment's endpoint as they would to AWS: `cdk` and `python -m deployment`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.endpoint.account import ACCOUNT, REGION
from local.endpoint.control import Endpoint
from local.layout import REPOSITORY, Layout
from local.traces import MARKER

_CDK = REPOSITORY / "node_modules/.bin/cdk"
# Looks are cheap here; on AWS they are rationed.
_POLL_SECONDS = "1"


@dataclass(frozen=True)
class Commands:
    """The commands for the deployment `layout`. Each returns its exit code, and ends with us."""

    layout: Layout

    def bootstrap(self, log: Path) -> int:
        """`cdk bootstrap`, its output in the file `log`. Away from cdk.json, whose app it would run for nothing."""
        command = [str(_CDK), "bootstrap", f"aws://{ACCOUNT}/{REGION}", "--no-notices"]
        with log.open("wb") as output:
            return self._run(command, self.layout.run, output.fileno())

    def deploy(self, context: Mapping[str, str], admitted_cidr: str) -> int:
        """`python -m deployment deploy`: the stack and the workflow, followed to its end.

        An execution that an interrupted run has left running is followed first: nobody else could stop it.
        """
        words = [word for key, value in context.items() for word in ("--context", f"{key}={value}")]
        return self._deployment("deploy", "--after-running", "--admitted-cidr", admitted_cidr, *words)

    def destroy(self) -> int:
        """`python -m deployment destroy`: all that was deployed."""
        return self._deployment("destroy")

    def _deployment(self, command: str, *options: str) -> int:
        common = ["--yes", "--poll", _POLL_SECONDS, f"--hint-options={self.layout.options}"]
        return self._run([sys.executable, "-m", "deployment", command, *common, *options], REPOSITORY)

    def _run(self, command: Sequence[str], directory: Path, output: int | None = None) -> int:
        # What is killed leaves its temporary files; here they go with the command, or with the deployment.
        with tempfile.TemporaryDirectory(dir=self.layout.run, prefix="tmp-", ignore_cleanup_errors=True) as scratch:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to explain: here it means something else than on AWS
                env=self._environment(scratch),
            )
            try:
                return process.wait()
            finally:
                if process.poll() is None:
                    # Not SIGTERM, at which it would explain what its end means on AWS.
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _environment(self, scratch: str) -> dict[str, str]:
        ours = {"TMPDIR": scratch, MARKER: self.layout.unit("command")}
        return {**_without_aws(), **Endpoint(self.layout).environment, **ours}


def _without_aws() -> dict[str, str]:
    """Our environment without what would lead to an account of the user's, and with the virtualenv's programs first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    ours = {"PATH": path, "CDK_DISABLE_CLI_TELEMETRY": "true"}
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | ours
