"""What an execution's history tells a person: one line a state, and one for all the looks at what takes long."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_WAIT = "WaitFor"
_FAILURES = (
    "ExecutionFailed",
    "LambdaFunctionFailed",
    "LambdaFunctionScheduleFailed",
    "LambdaFunctionStartFailed",
    "LambdaFunctionTimedOut",
    "TaskFailed",
    "TaskStartFailed",
    "TaskSubmitFailed",
    "TaskTimedOut",
)
_ATTEMPTS = ("LambdaFunctionScheduled", "TaskScheduled")


@dataclass(frozen=True)
class Line:
    """A line of the story; `at` is in seconds since the execution started."""

    at: float
    text: str


@dataclass(frozen=True)
class Failure:
    """How an attempt at a state ended."""

    state: str
    error: str
    cause: str

    def __str__(self) -> str:
        return f"{self.state}: {self.error}: {self.cause}"


@dataclass
class Story:
    """Reads events in their order. `state` is where the execution is, `awaited` what it polls for, if it does."""

    started: datetime
    state: str = ""
    awaited: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None  # the one that ended the deployment
    _entered: datetime | None = None
    _awaiting_since: datetime | None = None
    _looks: int = 0
    _attempt: Failure | None = None  # the one that may yet be retried

    def read(self, event: Mapping[str, Any]) -> Iterator[Line]:
        """The lines to show for an event of `GetExecutionHistory`."""
        kind: str = event["type"]
        if kind.endswith("StateEntered"):
            yield from self._enter(event)
        elif kind.endswith("StateExited"):
            yield from self._leave(event)
        elif kind in _FAILURES:
            self._attempt = Failure(self.state, *_reason(event))
        elif kind in _ATTEMPTS and self._attempt is not None:
            yield self._line(event, f"{self.state}: trying again after {_short(self._attempt)}")
            self._attempt = None

    def seconds(self, moment: datetime) -> float:
        """Seconds from the start to a moment."""
        return (moment - self.started).total_seconds()

    def _enter(self, event: Mapping[str, Any]) -> Iterator[Line]:
        name: str = event["stateEnteredEventDetails"]["name"]
        subject = name.removeprefix(_WAIT) if name.startswith(_WAIT) else None
        if subject is not None and subject != self.awaited:
            self.awaited, self._awaiting_since, self._looks = subject, event["timestamp"], 0
        elif self.awaited is not None and not self._polls(name):
            yield from self._end_of_waiting(event)
        self.state, self._entered, self._attempt = name, event["timestamp"], None
        self.data = _data(event["stateEnteredEventDetails"].get("input"))

    def _leave(self, event: Mapping[str, Any]) -> Iterator[Line]:
        self.data = _data(event["stateExitedEventDetails"].get("output"))
        if self._attempt is not None:
            self.failure = self.failure or self._attempt
            self._attempt = None
            yield self._line(event, f"FAILED  {self.failure}")
        elif self.awaited is not None:
            self._looks += self.state == f"Check{self.awaited}"
        elif event["type"].startswith("Task"):
            yield self._line(event, f"{self.state:<22} {_seconds_between(self._entered, event['timestamp']):7.1f} s")

    def _end_of_waiting(self, event: Mapping[str, Any]) -> Iterator[Line]:
        seconds = _seconds_between(self._awaiting_since, event["timestamp"])
        yield self._line(event, f"{self.awaited:<22} {seconds:7.1f} s, {self._looks} look{'s' * (self._looks != 1)}")
        self.awaited = None

    def _polls(self, name: str) -> bool:
        return name in (f"{_WAIT}{self.awaited}", f"Check{self.awaited}", f"{self.awaited}Done?")

    def _line(self, event: Mapping[str, Any], text: str) -> Line:
        return Line(self.seconds(event["timestamp"]), text)


def plain_cause(cause: str) -> str:
    """What a failed function said; AWS Lambda wraps it in JSON beside the stack trace."""
    try:
        document = json.loads(cause)
    except ValueError:
        return cause
    return str(document.get("errorMessage", cause)) if isinstance(document, dict) else cause


def _reason(event: Mapping[str, Any]) -> tuple[str, str]:
    details: Mapping[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
    return details.get("error") or event["type"], plain_cause(details.get("cause") or "no cause was given")


def _short(failure: Failure) -> str:
    return f"{failure.error}: {failure.cause}"[:160]


def _data(text: str | None) -> Mapping[str, Any]:
    """The state's data; nothing when the history leaves it out, as it does with large ones."""
    try:
        document = json.loads(text or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds_between(earlier: datetime | None, later: datetime) -> float:
    return (later - earlier).total_seconds() if earlier else 0.0
