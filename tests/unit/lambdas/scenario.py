"""A scenario: an event, the calls to AWS that the handler must make for it, in order, and what comes out.

`tests/infrastructure` reads the same scenarios: what a role permits must be what these calls need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.client import BaseClient
from botocore.stub import Stubber

REGION = "eu-central-1"
ACCOUNT = "111122223333"


@dataclass(frozen=True)
class Call:
    """An operation of a service, such as `ssm` `get_parameters`, with its exact parameters and its answer."""

    service: str
    operation: str
    parameters: Mapping[str, Any]
    answer: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None  # the service's error code, instead of the answer
    status: int = 400
    message: str = ""  # the service's words, if they matter


@dataclass(frozen=True)
class Scenario:
    """What `handler` does with `event`; either a `result`, or the name of the error and a part of its text."""

    name: str
    handler: Callable[[Any], Any]
    event: Mapping[str, Any]
    calls: Sequence[Call]
    result: Any = None
    error: str | None = None
    message: str = ""


class StubbedClients:
    """Real boto3 clients behind botocore's Stubber, which checks requests and answers against the service's model."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._clients: dict[str, BaseClient] = {}
        self._stubbers: dict[str, Stubber] = {}
        for call in calls:
            self._add(call)

    def client(self, service: str) -> BaseClient:
        """The client that a handler asks for."""
        if service not in self._clients:
            self._clients[service] = boto3.client(  # type: ignore[call-overload]
                service, region_name=REGION, aws_access_key_id="stub", aws_secret_access_key="stub"
            )
            self._stubbers[service] = Stubber(self._clients[service])
            self._stubbers[service].activate()
        return self._clients[service]

    def assert_all_made(self) -> None:
        """No call of the scenario is left over."""
        for stubber in self._stubbers.values():
            stubber.assert_no_pending_responses()

    def _add(self, call: Call) -> None:
        self.client(call.service)
        stubber = self._stubbers[call.service]
        if call.error is None:
            stubber.add_response(call.operation, dict(call.answer), dict(call.parameters))
        else:
            stubber.add_client_error(
                call.operation,
                service_error_code=call.error,
                service_message=call.message or f"{call.error} of {call.operation}",
                http_status_code=call.status,
                expected_params=dict(call.parameters),
            )
