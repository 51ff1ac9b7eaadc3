"""Runs the phases of a component document on a target, as the AWS task orchestrator (AWSTOE) does on an instance.

Followed: steps run in order; ExecuteBash makes one script of its commands and its exit code is the step's; an attempt
that exceeds `timeoutSeconds` fails; up to `maxAttempts` attempts; after the last one `onFailure` decides: `Abort`
stops the document as failed, `Continue` runs the remaining steps of the phase and fails then, `Ignore` counts as
success.

Simplified, on purpose:
- actions are ExecuteBash and S3Download of single objects, which come from a given mapping instead of S3;
- no conditions, loops, chained references or reboots (exit code 194 is a failure that says so);
- no retry delay, and no resumption after an interruption;
- in a build root, nothing that a step leaves running lives on after it, and /run starts empty in every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from local.document import Document, Download, ExecuteBash, S3Download, Step
from local.errors import DocumentError, LocalError
from local.processes import tail
from local.progress import Progress
from local.substitution import downloads

REBOOT = 194
_LAST_LINES = 25

# Reads the script from its input into a file, as AWSTOE does, so that the commands find nothing to read there.
_RUN_SCRIPT = """
directory=$(mktemp -d /tmp/component-step.XXXXXX) || exit 1
cat >"$directory/input.sh" || exit 1
trap 'rm -rf "$directory"' EXIT
bash "$directory/input.sh" </dev/null
"""

# AWS demands that the folders of the destination exist.
_RECEIVE = """
destination=$1 overwrite=$2
case $destination in
  */) echo "destination $destination is a folder" >&2; exit 1 ;;
esac
if [ -e "$destination" ] && [ "$overwrite" = no ]; then
  echo "$destination exists already, and overwrite is false" >&2; exit 1
fi
cat >"$destination"
"""


class StepTimeoutError(Exception):
    """One attempt took longer than it may."""


class Target(Protocol):
    """Where steps run, as root: a build root or a booted machine."""

    def execute(
        self, argv: Sequence[str], *, stdin: bytes | BinaryIO, timeout: float | None, output: Callable[[bytes], object]
    ) -> int:
        """Run `argv`, hand its output (both streams) to `output`, return its exit code.

        After `timeout` seconds it and all that it started is killed and `StepTimeoutError` raised.
        """


class StepFailedError(LocalError):
    """A step failed for good: names it, shows its last lines and where the rest is."""

    def __init__(self, source: str, phase: str, step: str, reason: str, last_lines: str, log: Path) -> None:
        self.phase, self.step, self.reason = phase, step, reason
        shown = "\n".join(f"  | {line}" for line in last_lines.splitlines())
        super().__init__(f"{source}: step {step} of phase {phase} {reason}\n{shown}\n  whole log: {log}")


@dataclass(frozen=True)
class StepResult:
    """How a step ended: `success`, `failed` (onFailure Continue) or `ignored`; after how many attempts and seconds."""

    phase: str
    step: str
    status: str
    attempts: int
    seconds: float


def check_downloads(source: str, document: Document, assets: Mapping[str, Path]) -> None:
    """Raise `DocumentError` unless all that `document` (with its values in place) downloads is among `assets`."""
    problems = []
    for entry in (entry for phase in document.phases for entry in downloads(phase.steps)):
        if not entry.source.startswith("s3://") or "*" in entry.source:
            problems.append(f"S3Download source {entry.source!r} is not the s3:// URL of one object")
        elif entry.source not in assets:
            problems.append(f"S3Download source {entry.source} is not among the assets at hand")
        if not entry.destination.startswith("/"):
            problems.append(f"S3Download destination {entry.destination!r} is not an absolute path")
    if problems:
        raise DocumentError("\n".join(f"{source}: {problem}" for problem in problems))


@dataclass(frozen=True)
class DocumentExecutor:
    """Runs documents on `target`. `source` names the image in messages; `assets` maps s3:// URLs to files."""

    source: str
    target: Target
    assets: Mapping[str, Path]
    log: Path
    progress: Progress

    def run(self, document: Document, phase_name: str) -> list[StepResult]:
        """Run one phase; a document without it has nothing to do. Raises `StepFailedError` at failure."""
        check_downloads(self.source, document, self.assets)
        phase = document.phase(phase_name)
        results: list[StepResult] = []
        failure: StepFailedError | None = None
        for step in phase.steps if phase else ():
            try:
                results.append(self._step(phase_name, step))
            except StepFailedError as error:
                if step.on_failure == "Abort":
                    raise
                failure = failure or error
                self.progress.line(
                    self.source, f"{phase_name}/{step.name} failed; the phase goes on (onFailure: Continue)"
                )
        if failure:
            raise failure
        return results

    def _step(self, phase: str, step: Step) -> StepResult:
        began = time.monotonic()
        with self.log.open("ab", buffering=0) as log, self.progress.step(self.source, f"{phase}/{step.name}"):
            for attempt in range(1, step.max_attempts + 1):
                start = log.tell()
                log.write(f"==> {phase}/{step.name}, attempt {attempt} of {step.max_attempts}\n".encode())
                reason = self._attempt(step, log.write)
                log.write(f"==> {reason or 'succeeded'} after {time.monotonic() - began:.1f} s\n".encode())
                if not reason:
                    return StepResult(phase, step.name, "success", attempt, time.monotonic() - began)
            if step.on_failure == "Ignore":
                return StepResult(phase, step.name, "ignored", step.max_attempts, time.monotonic() - began)
            lines = tail(self.log, _LAST_LINES, start)
            raise StepFailedError(self.source, phase, step.name, reason, lines, self.log)

    def _attempt(self, step: Step, output: Callable[[bytes], object]) -> str:
        """Why the attempt failed; empty if it succeeded."""
        deadline = None if step.timeout is None else time.monotonic() + step.timeout
        try:
            if isinstance(step, ExecuteBash):
                script = "\n".join(step.inputs.commands) + "\n"
                code = self._execute(["bash", "-c", _RUN_SCRIPT], script.encode(), deadline, output)
            else:
                code = self._download(step, deadline, output)
        except StepTimeoutError:
            return f"exceeded its timeoutSeconds of {step.timeout_seconds}"
        if code == REBOOT:
            return f"asked for a reboot (exit code {REBOOT}), which this executor does not do"
        return f"failed with exit code {code}" if code else ""

    def _download(self, step: S3Download, deadline: float | None, output: Callable[[bytes], object]) -> int:
        for entry in step.inputs:
            code = self._receive(entry, deadline, output)
            if code:
                return code
        return 0

    def _receive(self, entry: Download, deadline: float | None, output: Callable[[bytes], object]) -> int:
        argv = ["sh", "-euc", _RECEIVE, "sh", entry.destination, "yes" if entry.overwrite else "no"]
        with self.assets[entry.source].open("rb") as content:
            return self._execute(argv, content, deadline, output)

    def _execute(
        self, argv: Sequence[str], stdin: bytes | BinaryIO, deadline: float | None, output: Callable[[bytes], object]
    ) -> int:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self.target.execute(argv, stdin=stdin, timeout=timeout, output=output)
