"""A stack: its template, parameters, resources, outputs and events, and the operations that change it.

Each operation runs in a thread of its own, and callers wait for its end with `settled`, so that nobody polls in vain.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local.endpoint.account import arn
from local.endpoint.clients import Clients
from local.endpoint.cloudformation.engine import ChangeFailedError, Engine, Resource
from local.endpoint.cloudformation.evaluation import Evaluation
from local.endpoint.cloudformation.events import STACK_TYPE, Event
from local.endpoint.cloudformation.template import Template, TemplateError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What a stack is to become: a template, with parameters as given (or by default) and as `Ref` gives them."""

    template: Template
    parameters: Mapping[str, str]
    values: Mapping[str, Any]


class Stack:
    """One stack. `exports` gives what other stacks export."""

    def __init__(self, name: str, clients: Clients, exports: Callable[[], Mapping[str, str]]) -> None:
        self.name = name
        self.id = arn("cloudformation", f"stack/{name}/{uuid.uuid4()}")
        self.created = datetime.now(UTC)
        self.updated: datetime | None = None
        self.deleted: datetime | None = None
        self.status, self.reason = "REVIEW_IN_PROGRESS", ""
        self.template: Template | None = None
        self.parameters: Mapping[str, str] = {}
        self.tags: list[dict[str, str]] = []
        self.outputs: dict[str, dict[str, str]] = {}
        self.protected = False
        self.events: list[Event] = []
        self._exports = exports
        self._token = ""
        self._settled = threading.Condition()
        self._engine = Engine(clients, name, self.id, self._report)

    @property
    def resources(self) -> list[Resource]:
        """What exists of it."""
        return list(self._engine.resources.values())

    @property
    def busy(self) -> bool:
        """Whether an operation is under way."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    def settled(self, timeout: float) -> None:
        """Return when no operation is under way, at the latest after `timeout` seconds."""
        with self._settled:
            self._settled.wait_for(lambda: not self.busy, timeout)

    def change(self, change: Change, token: str) -> None:
        """Create or update it; returns at once."""
        self._token = token
        creating = self.template is None
        if not creating:
            self.updated = datetime.now(UTC)
        self._set("CREATE_IN_PROGRESS" if creating else "UPDATE_IN_PROGRESS", "User Initiated")
        work = self._create if creating else self._update
        self._start(lambda: work(change))

    def delete(self, token: str) -> None:
        """Delete it; returns at once."""
        self._token = token
        self._set("DELETE_IN_PROGRESS", "User Initiated")
        self._start(self._delete)

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=self._guarded, args=(work,), name=f"stack {self.name}", daemon=True).start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a mistake in this program must not leave the stack in progress for ever
            logger.exception("stack %s", self.name)
            operation = self.status.split("_")[0]
            failed = "ROLLBACK_FAILED" if operation in ("CREATE", "ROLLBACK") else f"{operation}_FAILED"
            self._set(failed, f"internal failure of the local endpoint: {type(error).__name__}: {error}")

    def _create(self, change: Change) -> None:
        self.template, self.parameters = change.template, change.parameters
        try:
            self._apply(change)
        except (ChangeFailedError, TemplateError) as error:
            self._set("ROLLBACK_IN_PROGRESS", f"{error}. Rollback requested by user.")
            done = self._engine.roll_back()
            self._set("ROLLBACK_COMPLETE" if done else "ROLLBACK_FAILED", "")
            return
        self._set("CREATE_COMPLETE", "")

    def _update(self, change: Change) -> None:
        try:
            self._apply(change)
        except (ChangeFailedError, TemplateError) as error:
            self._set("UPDATE_ROLLBACK_IN_PROGRESS", str(error))
            done = self._engine.roll_back()
            self._set("UPDATE_ROLLBACK_COMPLETE" if done else "UPDATE_ROLLBACK_FAILED", "")
            return
        self.template, self.parameters = change.template, change.parameters
        self._set("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")
        self._engine.clean_up(change.template, self._evaluation(change))
        self._set("UPDATE_COMPLETE", "")

    def _delete(self) -> None:
        if self._engine.delete_all():
            self.deleted = datetime.now(UTC)
            self.outputs = {}
            self._set("DELETE_COMPLETE", "")
        else:
            left = ", ".join(self._engine.resources)
            self._set("DELETE_FAILED", f"The following resource(s) failed to delete: [{left}].")

    def _apply(self, change: Change) -> None:
        evaluation = self._evaluation(change)
        self._engine.apply(change.template, evaluation)
        self.outputs = _evaluated_outputs(change.template, evaluation)

    def _evaluation(self, change: Change) -> Evaluation:
        return Evaluation(
            change.template,
            stack_name=self.name,
            stack_id=self.id,
            parameters=change.values,
            reference=self._engine.reference,
            attribute=self._engine.attribute,
            exports=self._exports(),
        )

    def _set(self, status: str, reason: str) -> None:
        with self._settled:
            self.status, self.reason = status, reason
            self.events.append(Event(self.name, self.id, STACK_TYPE, status, reason, self._token))
            self._settled.notify_all()

    def _report(self, resource: Resource, status: str, reason: str) -> None:
        self.events.append(
            Event(resource.logical_id, resource.made.ref, resource.type_name, status, reason, self._token)
        )


def _evaluated_outputs(template: Template, evaluation: Evaluation) -> dict[str, dict[str, str]]:
    outputs = {}
    for name, entry in template.outputs.items():
        if not evaluation.wanted(entry):
            continue
        outputs[name] = {"OutputKey": name, "OutputValue": str(evaluation.value(entry["Value"]))}
        if "Description" in entry:
            outputs[name]["Description"] = entry["Description"]
        if "Export" in entry:
            outputs[name]["ExportName"] = str(evaluation.value(entry["Export"]["Name"]))
    return outputs
