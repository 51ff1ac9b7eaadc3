"""Custom resources: what their function is told, and what becomes of its answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from local.endpoint.cloudformation import resources_custom
from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceError
from local.endpoint.cloudformation.resources_custom import CustomResource

PROPERTIES = {"ServiceToken": "arn", "ServiceTimeout": 1, "Names": ["a"], "On": True}
Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


class Function:
    """The function behind the resource: keeps its events, and gives the answer that `answer` makes of one."""

    def __init__(self, answer: Answer, failed: bool = False) -> None:
        self.events: list[dict[str, Any]] = []
        self._answer, self._failed = answer, failed
        self.url = "http://localhost:1"

    def call(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert (service, operation, parameters["FunctionName"]) == ("lambda", "invoke", "arn")
        event = json.loads(parameters["Payload"])
        self.events.append(event)
        answer = self._answer(event)
        if answer is not None:
            token = event["ResponseURL"].removeprefix(self.url + resources_custom.PATH)
            assert resources_custom.answer(token, json.dumps(answer).encode())
        error = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "broken"}')}
        return error if self._failed else {}


def succeed(_: dict[str, Any]) -> dict[str, Any]:
    return {"Status": "SUCCESS", "PhysicalResourceId": "thing", "Data": {"Size": "3"}}


def context(function: Function) -> Context:
    clients: Any = SimpleNamespace(call=function.call, url=function.url)
    return Context(clients, "stack", "stack-id", "Thing", "Custom::Thing", "X")


def test_the_answer_gives_the_resource_its_id_and_attributes() -> None:
    function = Function(succeed)
    made = CustomResource().create(context(function), Properties(PROPERTIES))
    assert made == Made("thing", {"Size": "3"})
    (event,) = function.events
    assert (event["RequestType"], event["LogicalResourceId"], event["StackId"]) == ("Create", "Thing", "stack-id")
    assert event["ResourceProperties"] == {
        "ServiceToken": "arn", "ServiceTimeout": "1", "Names": ["a"], "On": "true"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (Function(lambda _: {"Status": "FAILED", "Reason": "no room"}), "no room"),
        (Function(lambda _: None, failed=True), "broken"),
        (Function(lambda _: None), "no answer within 1 seconds"),
    ],
)
def test_without_success_there_is_no_resource_and_the_reason_is_told(function: Function, reason: str) -> None:
    given = context(function)
    with pytest.raises(ResourceError, match=reason):
        CustomResource().create(given, Properties(PROPERTIES))
    assert given.unfinished  # so that it is told to delete what it had made until then


def test_a_deletion_names_what_was_made() -> None:
    function = Function(succeed)
    CustomResource().delete(context(function), Made("thing"), Properties(PROPERTIES))
    assert (function.events[0]["RequestType"], function.events[0]["PhysicalResourceId"]) == ("Delete", "thing")


def test_an_update_tells_the_former_properties() -> None:
    function = Function(succeed)
    new = Properties({**PROPERTIES, "Names": ["b"]})
    CustomResource().update(context(function), Made("thing"), Properties(PROPERTIES), new)
    (event,) = function.events
    assert (event["RequestType"], event["OldResourceProperties"]["Names"]) == ("Update", ["a"])


def test_an_answer_that_nobody_waits_for_is_not_taken() -> None:
    assert not resources_custom.answer("unknown", b"{}")
