"""What a run finds out: typed results, and the one exception that says an expectation did not hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from client.options import Target

SCHEMA_VERSION = 1
"""Version of the `--json` report; raised when a key changes its meaning or goes away (`report.schema.json`)."""

Status = Literal["passed", "failed", "not_run"]


@dataclass(frozen=True)
class Failure:
    """One expectation that did not hold: what was expected, what came instead, and what to do about it."""

    expected: str
    received: str
    remedy: str | None = None


class ExpectationError(Exception):
    """An expectation about the proxy did not hold; `failure` has the texts."""

    def __init__(self, expected: str, received: str, remedy: str | None = None) -> None:
        super().__init__(f"expected {expected}; received {received}")
        self.failure = Failure(expected, received, remedy)


@dataclass(frozen=True)
class ScenarioResult:
    """The outcome of one scenario: `failure` if it failed, else `detail`: what passed, or why it could not run."""

    number: int
    name: str
    status: Status
    elapsed_ms: int
    detail: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class EndToEndResult:
    """The outcome of `e2e`: every scenario, in order, whether it could run or not."""

    scenarios: tuple[ScenarioResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every scenario ran and passed."""
        return bool(self.scenarios) and all(scenario.status == "passed" for scenario in self.scenarios)

    def count(self, status: Status) -> int:
        """How many scenarios ended with this status."""
        return sum(scenario.status == status for scenario in self.scenarios)


def report(
    command: str,
    target: Target,
    *,
    passed: bool,
    elapsed_ms: int,
    result: dict[str, Any] | None,
    failure: Failure | None = None,
) -> dict[str, Any]:
    """Makes the `--json` report, the same envelope for every command; `client/report.schema.json` describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "target": {
            "host": target.host,
            "wss_port": target.wss_port,
            "oauth_port": target.oauth_port,
            "tls_verified": not target.insecure,
        },
        "passed": passed,
        "elapsed_ms": elapsed_ms,
        "result": result,
        "failure": asdict(failure) if failure else None,
    }
