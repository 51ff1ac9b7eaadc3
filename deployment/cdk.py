"""Runs the CDK CLI."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployment.account import Aws
from deployment.errors import DeploymentError, InterruptedByUserError, NotStartedError
from deployment.hints import Hints
from deployment.stack import find_stack, first_failure
from stacks.names import STACK

ROOT = Path(__file__).resolve().parent.parent
_OURS = ROOT / "node_modules" / ".bin" / "cdk"


def check_cli() -> Path:
    """The CDK CLI. Raises `NotStartedError` when it is not there."""
    if not _OURS.exists():
        raise NotStartedError(
            "the CDK CLI is missing: run npm ci in the project's directory (deploy.sh does it itself)"
        )
    if shutil.which("node", path=_path()) is None:
        raise NotStartedError(
            "Node.js is missing, which runs the CDK CLI: run deploy.sh, which installs one, or install it"
        )
    return _OURS


def deploy_stack(
    aws: Aws, *, parameters: Mapping[str, str], context: Sequence[str], confirm: bool, hints: Hints
) -> None:
    """Creates or updates the stack with `cdk deploy`. With `confirm`, the CLI asks before it widens permissions.

    Raises `DeploymentError` when it fails, `InterruptedByUserError` when the user does not wait for the end.
    """
    cli = check_cli()
    with tempfile.TemporaryDirectory(prefix="secure-proxy-cdk-") as assembly:
        command = [
            str(cli), "deploy", STACK, "--method", "direct", "--output", assembly,
            "--require-approval", "broadening" if confirm else "never", "--no-notices",
            *(word for entry in context for word in ("--context", entry)),
            *(word for name, value in parameters.items() for word in ("--parameters", f"{STACK}:{name}={value}")),
        ]  # fmt: skip
        code = _run(command, _environment(aws.region), _interrupted(aws, hints))
    if code != 0:
        raise DeploymentError(_failure(aws, code, hints))


def _environment(region: str) -> dict[str, str]:
    regions = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION", "CDK_DEFAULT_REGION"), region)
    return {**os.environ, **regions, "PATH": _path(), "CDK_DISABLE_CLI_TELEMETRY": "true"}


def _path() -> str:
    """First the virtualenv: the app is started as `python3`, which must have the CDK library, and `node` is pinned."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _run(command: Sequence[str], environment: Mapping[str, str], interrupted: str) -> int:
    process: subprocess.Popen[bytes] | None = None
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=dict(environment))
        return process.wait()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the message below is what the user needs now
        # A terminal's Ctrl-C has reached the CLI too; a signal sent to us alone has not.
        if process is not None:
            process.terminate()
            process.wait()
        raise InterruptedByUserError(interrupted) from None


def _interrupted(aws: Aws, hints: Hints) -> str:
    return (
        "interrupted. CloudFormation carries on with what it has begun.\n"
        f"  look at it:     {hints.stack_events(aws.region)}\n"
        f"  stop an update: {hints.cancel_update(aws.region)}\n"
        f"  when it has ended, deploy again: {hints.deploy}   or remove everything: {hints.destroy}"
    )


def _failure(aws: Aws, code: int, hints: Hints) -> str:
    stack = find_stack(aws)
    state = "there is no stack" if stack is None else f"the stack is in state {stack.status}"
    cause = "" if stack is None else "".join(f"\n  it began with {text}" for text in first_failure(aws, stack))
    return (
        f"cdk deploy ended with exit code {code}; what it says stands above, and {state}.{cause}\n"
        f"  remove the cause, then run {hints.deploy} again, which says if something else must be done first"
    )
