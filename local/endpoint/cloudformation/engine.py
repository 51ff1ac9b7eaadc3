"""Brings the resources of a stack to what a template says, and back if that fails.

Resources are made one after the other, each after those that it needs. What a template no longer holds, and what was
replaced, is deleted when all the rest is done, as CloudFormation does. Every step is put down in a journal, so that a
failed change is taken back: what was made is deleted, what was changed is changed back.
"""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from local.endpoint.clients import Clients
from local.endpoint.cloudformation.evaluation import Evaluation
from local.endpoint.cloudformation.resource_type import (
    Context,
    Made,
    Properties,
    ResourceError,
    ResourceType,
    find,
    is_gone,
)
from local.endpoint.cloudformation.template import Template, TemplateError

logger = logging.getLogger(__name__)

Report = Callable[["Resource", str, str], None]  # resource, status, reason
_T = TypeVar("_T")
_FAILURES = (ResourceError, TemplateError, ClientError, BotoCoreError)
_ALPHABET = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class Resource:
    """A resource of a stack. `properties` are evaluated; deleting the stack leaves what is `retained`, and replacing
    the resource what is `kept`.
    """

    logical_id: str
    type_name: str
    properties: Mapping[str, Any]
    made: Made
    retained: bool = False
    kept: bool = False


@dataclass(frozen=True)
class _Step:
    before: Resource | None
    after: Resource


class ChangeFailedError(Exception):
    """A resource could not be made, changed or unmade; the events tell which and why."""


class Engine:
    """The resources of one stack, in the order in which they were made."""

    def __init__(self, clients: Clients, stack_name: str, stack_id: str, report: Report) -> None:
        self._clients, self._name, self._id, self._report = clients, stack_name, stack_id, report
        self.resources: dict[str, Resource] = {}
        self._journal: list[_Step] = []

    def reference(self, logical_id: str) -> str:
        """What `Ref` gives."""
        return self._existing(logical_id).made.ref

    def attribute(self, logical_id: str, name: str) -> Any:
        """What `Fn::GetAtt` gives."""
        resource = self._existing(logical_id)
        if name not in resource.made.attributes:
            raise TemplateError(f"Template error: {logical_id} ({resource.type_name}) has no attribute {name}")
        return resource.made.attributes[name]

    def apply(self, template: Template, evaluation: Evaluation) -> None:
        """Makes and changes resources. Raises `ChangeFailedError`; then `roll_back`."""
        self._journal = []
        for logical_id in template.order():
            entry = template.resources[logical_id]
            if evaluation.wanted(entry):
                self._bring(logical_id, entry, evaluation)

    def clean_up(self, template: Template, evaluation: Evaluation) -> None:
        """After `apply`: deletes what was replaced or is not in the template any more. Failures are only reported."""
        wanted = {name for name, entry in template.resources.items() if evaluation.wanted(entry)}
        old = [step.before for step in self._journal if step.before and _is_other(step.before, step.after)]
        replaced = [resource for resource in old if not resource.kept]
        gone = [self.resources.pop(name) for name in list(self.resources) if name not in wanted]
        removed = [resource for resource in gone if not resource.retained]
        for resource in reversed([*removed, *replaced]):
            self._try(self._delete, resource)
        self._journal = []
        # What is deleted some day is deleted before what it needs, and a change may have turned that round.
        self.resources = {name: self.resources[name] for name in template.order() if name in self.resources}

    def roll_back(self) -> bool:
        """Takes back the steps of a failed `apply`; whether all could be."""
        done = True
        for step in reversed(self._journal):
            done = self._try(self._take_back, step) and done
        self._journal = []
        return done

    def delete_all(self) -> bool:
        """Deletes all resources but those to be retained; whether that went well."""
        done = True
        for name, resource in reversed(list(self.resources.items())):
            if resource.retained or self._try(self._delete, resource):
                del self.resources[name]
            else:
                done = False
        return done

    def _existing(self, logical_id: str) -> Resource:
        if logical_id not in self.resources:
            raise TemplateError(f"Template error: {logical_id} is referred to, but its condition leaves it out")
        return self.resources[logical_id]

    def _bring(self, logical_id: str, entry: Mapping[str, Any], evaluation: Evaluation) -> None:
        before = self.resources.get(logical_id)
        type_name = entry["Type"]
        placeholder = Resource(logical_id, type_name, {}, Made(""))
        policies = [entry.get(name, "Delete") == "Retain" for name in ("DeletionPolicy", "UpdateReplacePolicy")]
        try:
            properties = evaluation.value(entry.get("Properties", {}))
            wanted = Resource(logical_id, type_name, properties, before.made if before else Made(""), *policies)
            if before and before.type_name == type_name and before.properties == properties:
                self.resources[logical_id] = wanted
                return
            if before and _in_place(before, wanted):
                self._journal.append(_Step(before, wanted))  # also one that fails half-way is taken back
                made = self._update(before, wanted)
                self._journal.pop()
            else:
                made = self._create(wanted)
        except _FAILURES as error:
            self._report(before or placeholder, f"{'UPDATE' if before else 'CREATE'}_FAILED", _reason(error))
            raise ChangeFailedError(f"{logical_id}: {_reason(error)}") from error
        after = replace(wanted, made=made)
        self._journal.append(_Step(before, after))
        self.resources[logical_id] = after
        self._report(after, f"{'UPDATE' if before else 'CREATE'}_COMPLETE", "")

    def _create(self, wanted: Resource) -> Made:
        self._report(wanted, "CREATE_IN_PROGRESS", "")
        context, properties = self._context(wanted), Properties(wanted.properties)
        try:
            made = context.begun(_kind(wanted).create(context, properties))
            if properties.unused():
                raise ResourceError(_unknown(wanted, properties))
        except _FAILURES:
            for unfinished in context.unfinished[-1:]:
                self._try(self._delete, replace(wanted, made=unfinished))
            raise
        return made

    def _update(self, before: Resource, wanted: Resource) -> Made:
        self._report(before, "UPDATE_IN_PROGRESS", "")
        old, new = Properties(before.properties), Properties(wanted.properties)
        made = _kind(before).update(self._context(before), before.made, old, new)
        unknown = [name for name in new.unused() if old.get(name) != new.get(name)]
        if unknown:
            raise ResourceError(_unknown(wanted, Properties(dict.fromkeys(unknown))))
        return made

    def _delete(self, resource: Resource) -> None:
        self._report(resource, "DELETE_IN_PROGRESS", "")
        try:
            _kind(resource).delete(self._context(resource), resource.made, Properties(resource.properties))
        except _FAILURES as error:
            if not (isinstance(error, ClientError) and is_gone(error)):
                self._report(resource, "DELETE_FAILED", _reason(error))
                raise
        self._report(resource, "DELETE_COMPLETE", "")

    def _take_back(self, step: _Step) -> None:
        logical_id = step.after.logical_id
        if step.before and not _is_other(step.before, step.after):
            before = step.before
            made = self._update(step.after, before)
            self.resources[logical_id] = replace(before, made=made)
            self._report(before, "UPDATE_COMPLETE", "")
            return
        self._delete(step.after)
        if step.before:
            self.resources[logical_id] = step.before
        else:
            del self.resources[logical_id]

    def _try(self, work: Callable[[_T], None], subject: _T) -> bool:
        try:
            work(subject)
        except _FAILURES as error:
            logger.warning("stack %s: %s", self._name, _reason(error))
            return False
        return True

    def _context(self, resource: Resource) -> Context:
        suffix = "".join(secrets.choice(_ALPHABET) for _ in range(12))
        return Context(self._clients, self._name, self._id, resource.logical_id, resource.type_name, suffix)


def _kind(resource: Resource) -> ResourceType:
    kind = find(resource.type_name)
    if kind is None:
        raise ResourceError(f"Unrecognized resource type: {resource.type_name}")
    return kind


def _in_place(before: Resource, wanted: Resource) -> bool:
    kind = _kind(before)
    changed = {
        name
        for name in before.properties.keys() | wanted.properties.keys()
        if before.properties.get(name) != wanted.properties.get(name)
    }
    return before.type_name == wanted.type_name and kind.updates and not changed & kind.replaced_by


def _is_other(before: Resource, after: Resource) -> bool:
    return before.type_name != after.type_name or before.made.ref != after.made.ref


def _unknown(resource: Resource, properties: Properties) -> str:
    names = ", ".join(properties.unused() or properties)
    return f"the local endpoint does not know the properties {names} of {resource.type_name}"


def _reason(error: Exception) -> str:
    if isinstance(error, ClientError):
        detail = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return f"{detail.get('Message', error)} (Error Code: {detail.get('Code', '')}; Status Code: {status})"
    return str(error) or type(error).__name__
