"""The operations of CloudFormation's API that the CDK CLI and `deployment` use."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local.endpoint.account import arn
from local.endpoint.clients import Clients
from local.endpoint.cloudformation.descriptions import described, described_resources, exists, is_change_set
from local.endpoint.cloudformation.requests import differs, given_template, prepared
from local.endpoint.cloudformation.stack import Stack
from local.endpoint.cloudformation.template import TemplateError
from local.endpoint.services import ServiceError

# The CDK CLI asks at once and then every five seconds: the answer is held back until there is something to tell.
_HOLD_SECONDS = 20
_Parameters = Mapping[str, Any]
_NO_CHANGES = "The submitted information didn't contain changes."
_NO_UPDATES = "No updates are to be performed."


class CloudFormation:
    """All stacks of the account. Operations are named and take and give what boto3's client does."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._stacks: dict[str, Stack] = {}  # by id
        self._change_sets: dict[str, dict[str, Any]] = {}  # by id
        self._lock = threading.RLock()

    def create_stack(self, parameters: _Parameters) -> _Parameters:
        with self._lock:
            name = parameters["StackName"]
            if self._find(name):
                raise ServiceError("AlreadyExistsException", f"Stack [{name}] already exists")
            stack = self._new_stack(name)
            change = prepared(self._clients, parameters, stack)
            self._stacks[stack.id] = stack
            stack.tags = parameters.get("Tags", [])
            stack.protected = bool(parameters.get("EnableTerminationProtection"))
            stack.change(change, parameters.get("ClientRequestToken", ""))
        return {"StackId": stack.id}

    def update_stack(self, parameters: _Parameters) -> _Parameters:
        with self._lock:
            stack = self._changeable(parameters["StackName"])
            change = prepared(self._clients, parameters, stack)
            if not differs(stack, change, parameters):
                raise TemplateError(_NO_UPDATES)
            stack.tags = parameters.get("Tags", stack.tags)
            stack.change(change, parameters.get("ClientRequestToken", ""))
        return {"StackId": stack.id}

    def delete_stack(self, parameters: _Parameters) -> None:
        with self._lock:
            stack = self._find(parameters["StackName"])
            if stack is None or stack.status == "DELETE_COMPLETE":
                return
            if stack.protected:
                raise TemplateError(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
            if stack.busy:
                raise TemplateError(f"Stack [{stack.name}] is in {stack.status} state and can not be deleted")
            stack.delete(parameters.get("ClientRequestToken", ""))

    def describe_stacks(self, parameters: _Parameters) -> _Parameters:
        if "StackName" not in parameters:
            return {"Stacks": [described(stack) for stack in list(self._stacks.values()) if exists(stack)]}
        stack = self._get(parameters["StackName"])
        stack.settled(_HOLD_SECONDS)
        if not exists(stack) and parameters["StackName"] == stack.name:
            raise TemplateError(f"Stack with id {stack.name} does not exist")
        return {"Stacks": [described(stack)]}

    def list_stacks(self, parameters: _Parameters) -> _Parameters:
        wanted = parameters.get("StackStatusFilter")
        stacks = [stack for stack in list(self._stacks.values()) if not wanted or stack.status in wanted]
        return {"StackSummaries": [described(stack) for stack in stacks]}

    def describe_stack_events(self, parameters: _Parameters) -> _Parameters:
        stack = self._get(parameters["StackName"])
        return {"StackEvents": [event.to_api(stack.id, stack.name) for event in reversed(list(stack.events))]}

    def list_stack_resources(self, parameters: _Parameters) -> _Parameters:
        return {"StackResourceSummaries": described_resources(self._get(parameters["StackName"]))}

    def describe_stack_resources(self, parameters: _Parameters) -> _Parameters:
        stack, wanted = self._get(parameters["StackName"]), parameters.get("LogicalResourceId")
        found = described_resources(stack)
        return {"StackResources": [entry for entry in found if wanted in (None, entry["LogicalResourceId"])]}

    def describe_stack_resource(self, parameters: _Parameters) -> _Parameters:
        found = self.describe_stack_resources(parameters)["StackResources"]
        if not found:
            raise TemplateError(
                f"Resource {parameters['LogicalResourceId']} does not exist for stack {parameters['StackName']}"
            )
        return {"StackResourceDetail": found[0]}

    def get_template(self, parameters: _Parameters) -> _Parameters:
        stack = self._get(parameters["StackName"])
        return {"TemplateBody": stack.template.body if stack.template else "", "StagesAvailable": ["Original"]}

    def get_template_summary(self, parameters: _Parameters) -> _Parameters:
        stack = self._get(parameters["StackName"]) if "StackName" in parameters else None
        template = stack.template if stack and stack.template else given_template(self._clients, parameters, stack)
        declared = [
            {"ParameterKey": name, "ParameterType": entry["Type"], "DefaultValue": entry.get("Default")}
            for name, entry in template.parameters.items()
        ]
        return {"Parameters": declared, "ResourceTypes": sorted(template.types), "Description": template.description}

    def list_exports(self, _: _Parameters) -> _Parameters:
        return {
            "Exports": [
                {"ExportingStackId": stack.id, "Name": output["ExportName"], "Value": output["OutputValue"]}
                for stack in list(self._stacks.values())
                for output in stack.outputs.values()
                if "ExportName" in output
            ]
        }

    def update_termination_protection(self, parameters: _Parameters) -> _Parameters:
        stack = self._get(parameters["StackName"])
        stack.protected = bool(parameters["EnableTerminationProtection"])
        return {"StackId": stack.id}

    def create_change_set(self, parameters: _Parameters) -> _Parameters:
        with self._lock:
            name = parameters["StackName"]
            stack = self._find(name) if parameters.get("ChangeSetType") == "CREATE" else self._changeable(name)
            if stack is None:
                stack = self._new_stack(name)
            change = prepared(self._clients, parameters, stack)
            self._stacks[stack.id] = stack
            different = differs(stack, change, parameters)
            identity = arn("cloudformation", f"changeSet/{parameters['ChangeSetName']}/{uuid.uuid4()}")
            self._change_sets[identity] = {
                "ChangeSetId": identity,
                "ChangeSetName": parameters["ChangeSetName"],
                "StackId": stack.id,
                "StackName": stack.name,
                "CreationTime": datetime.now(UTC),
                "Status": "CREATE_COMPLETE" if different else "FAILED",
                "ExecutionStatus": "AVAILABLE" if different else "UNAVAILABLE",
                "StatusReason": None if different else _NO_CHANGES,
                "Changes": [],
                "change": change,
                "tags": parameters.get("Tags", stack.tags),
            }
        return {"Id": identity, "StackId": stack.id}

    def describe_change_set(self, parameters: _Parameters) -> _Parameters:
        found = self._change_set(parameters)
        return {key: value for key, value in found.items() if value is not None and key[0].isupper()}

    def delete_change_set(self, parameters: _Parameters) -> None:
        with self._lock:
            for identity, entry in list(self._change_sets.items()):
                if is_change_set(entry, parameters):
                    del self._change_sets[identity]

    def execute_change_set(self, parameters: _Parameters) -> None:
        with self._lock:
            found = self._change_set(parameters)
            if found["ExecutionStatus"] != "AVAILABLE":
                raise ServiceError("InvalidChangeSetStatus", f"ChangeSet [{found['ChangeSetId']}] cannot be executed")
            stack = self._stacks[found["StackId"]]
            del self._change_sets[found["ChangeSetId"]]
            stack.tags = found["tags"]
            stack.change(found["change"], parameters.get("ClientRequestToken", ""))

    def _new_stack(self, name: str) -> Stack:
        return Stack(name, self._clients, self._exports)

    def _exports(self) -> Mapping[str, str]:
        return {export["Name"]: export["Value"] for export in self.list_exports({})["Exports"]}

    def _find(self, name_or_id: str) -> Stack | None:
        if name_or_id in self._stacks:
            return self._stacks[name_or_id]
        named = (stack for stack in list(self._stacks.values()) if stack.name == name_or_id)
        return next((stack for stack in named if exists(stack)), None)

    def _get(self, name_or_id: str) -> Stack:
        stack = self._find(name_or_id)
        if stack is None:
            raise TemplateError(f"Stack with id {name_or_id} does not exist")
        return stack

    def _changeable(self, name: str) -> Stack:
        stack = self._get(name)
        if not stack.status.endswith(("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")):
            raise TemplateError(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
        return stack

    def _change_set(self, parameters: _Parameters) -> dict[str, Any]:
        for entry in list(self._change_sets.values()):
            if is_change_set(entry, parameters):
                return entry
        raise ServiceError("ChangeSetNotFound", f"ChangeSet [{parameters['ChangeSetName']}] does not exist")
