"""Custom resources: a Lambda function makes them, and says so at the address that its event names.

Protocol: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

from __future__ import annotations

import json
import queue
import uuid
from collections.abc import Mapping
from typing import Any

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceError, ResourceType, register

PATH = "/_cloudformation/answers/"
_LONGEST = 3600  # seconds that CloudFormation waits unless ServiceTimeout says otherwise

_answers: dict[str, queue.SimpleQueue[dict[str, Any]]] = {}


def answer(token: str, body: bytes) -> bool:
    """Take the answer that was put at the address with `token`; False if nobody waits for it."""
    waiting = _answers.get(token)
    if waiting is not None:
        waiting.put(json.loads(body))
    return waiting is not None


@register
class CustomResource(ResourceType):
    name = "Custom::"
    updates = True
    replaced_by = frozenset({"ServiceToken"})

    def create(self, context: Context, properties: Properties) -> Made:
        try:
            return self._ask(context, properties, {"RequestType": "Create"})
        except ResourceError:
            context.begun(Made(context.name()))  # it is told to delete what it has made until it failed
            raise

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        return self._ask(
            context,
            new,
            {"RequestType": "Update", "PhysicalResourceId": made.ref, "OldResourceProperties": _texts(old.all())},
        )

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._ask(context, properties, {"RequestType": "Delete", "PhysicalResourceId": made.ref})

    def _ask(self, context: Context, properties: Properties, request: Mapping[str, Any]) -> Made:
        seconds = int(properties.get("ServiceTimeout", _LONGEST))
        token, waiting = str(uuid.uuid4()), queue.SimpleQueue[dict[str, Any]]()
        event = {
            **request,
            "RequestId": str(uuid.uuid4()),
            "ResponseURL": f"{context.clients.url}{PATH}{token}",
            "StackId": context.stack_id,
            "LogicalResourceId": context.logical_id,
            "ResourceType": context.type_name,
            "ServiceToken": properties["ServiceToken"],
            "ResourceProperties": _texts(properties.all()),
        }
        _answers[token] = waiting
        try:
            invoked = context.call(
                "lambda", "invoke", FunctionName=properties["ServiceToken"], Payload=json.dumps(event)
            )
            # The function may leave the answer to somebody else; but if it has failed, nobody will give one.
            failed = "FunctionError" in invoked
            found = waiting.get(timeout=0 if failed else seconds)
        except queue.Empty:
            if failed:
                raise ResourceError(f"the function failed: {invoked['Payload'].read().decode()}") from None
            raise ResourceError(f"the function gave no answer within {seconds} seconds") from None
        finally:
            del _answers[token]
        if found["Status"] != "SUCCESS":
            raise ResourceError(f"Received response status [FAILED] from custom resource. {found.get('Reason', '')}")
        return Made(found["PhysicalResourceId"], found.get("Data") or {})


def _texts(value: Any) -> Any:
    """Properties as functions get them: all scalars are strings."""
    if isinstance(value, Mapping):
        return {key: _texts(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_texts(entry) for entry in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
