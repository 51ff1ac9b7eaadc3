"""Executions of the workflow as Step Functions tells them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.deployment.support import EXECUTION, MACHINE
from tests.unit.lambdas.scenario import Call

START = datetime(2026, 1, 1, 10, 0, 0, tzinfo=UTC)


class History:
    """Events that follow each other; `at` is in seconds since the start."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def add(self, at: float, kind: str, **details: Any) -> None:
        number = len(self.events) + 1
        moment = START + timedelta(seconds=at)
        self.events.append({"id": number, "previousEventId": number - 1, "type": kind, "timestamp": moment, **details})

    def enter(self, at: float, name: str, kind: str = "Task", data: Mapping[str, Any] | None = None) -> None:
        self.add(at, f"{kind}StateEntered", stateEnteredEventDetails={"name": name, "input": json.dumps(data or {})})

    def leave(self, at: float, name: str, kind: str = "Task", data: Mapping[str, Any] | None = None) -> None:
        self.add(at, f"{kind}StateExited", stateExitedEventDetails={"name": name, "output": json.dumps(data or {})})

    def task(self, begin: float, end: float, name: str, data: Mapping[str, Any] | None = None) -> None:
        """A task that succeeds."""
        self.enter(begin, name)
        self.add(begin, "LambdaFunctionScheduled", lambdaFunctionScheduledEventDetails={"resource": "arn"})
        self.add(end, "LambdaFunctionSucceeded")
        self.leave(end, name, data=data)

    def fail(self, at: float, error: str, message: str) -> None:
        cause = json.dumps({"errorMessage": message, "errorType": error, "stackTrace": ["…"]})
        self.add(at, "LambdaFunctionFailed", lambdaFunctionFailedEventDetails={"error": error, "cause": cause})

    def wait(self, begin: float, end: float, subject: str, data: Mapping[str, Any] | None = None) -> None:
        self.enter(begin, f"WaitFor{subject}", "Wait", data)
        self.leave(end, f"WaitFor{subject}", "Wait", data)

    def look(self, at: float, subject: str, data: Mapping[str, Any] | None = None) -> None:
        """A look at what is awaited, and the choice after it."""
        self.task(at, at + 1, f"Check{subject}", data)
        self.enter(at + 1, f"{subject}Done?", "Choice", data)
        self.leave(at + 1, f"{subject}Done?", "Choice", data)


def described(status: str, **more: Any) -> Call:
    answer = {"executionArn": EXECUTION, "stateMachineArn": MACHINE, "startDate": START, "status": status, **more}
    return Call("stepfunctions", "describe_execution", {"executionArn": EXECUTION}, answer)


def told(events: list[dict[str, Any]], *, token: str | None = None, next_token: str | None = None) -> Call:
    asked = {"executionArn": EXECUTION, "maxResults": 1000} | ({"nextToken": token} if token else {})
    answer = {"events": events} | ({"nextToken": next_token} if next_token else {})
    return Call("stepfunctions", "get_execution_history", asked, answer)
