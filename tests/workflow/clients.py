"""Clients of the world, as handlers get them from `lambdas.common.clients`."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
from botocore import xform_name
from botocore.validate import validate_parameters

from tests.synthesis import REGION
from tests.workflow.world import World

# Step Functions itself is moto's, which runs the state machine.
_REAL = ("stepfunctions",)


class WorldClients:
    """Hands out clients, checks what they ask, and lets calls fail that are told to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._session = botocore.session.get_session()
        self._lock = threading.Lock()
        self.faults: dict[str, deque[Exception]] = defaultdict(deque)  # by operation, such as `put_parameter`
        self.operations: set[str] = set()

    def client(self, service: str) -> Any:
        """The client of an AWS service."""
        if service in _REAL:
            client = boto3.client(service, region_name=REGION)  # type: ignore[call-overload]
            client.meta.events.register("before-call", self._fail_if_told_to)
            return client
        model = self._session.get_service_model(service)
        calls: dict[str, Callable[..., Any]] = {
            xform_name(name): self._call(xform_name(name), model.operation_model(name))
            for name in model.operation_names
        }
        return SimpleNamespace(meta=SimpleNamespace(region_name=REGION), **calls)

    def _call(self, operation: str, model: Any) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            validate_parameters(request, model.input_shape)
            with self._lock:
                self._record(operation)
                return getattr(self._world, operation)(request)

        return call

    def _fail_if_told_to(self, model: Any, **_: Any) -> None:
        with self._lock:
            self._record(xform_name(model.name))

    def _record(self, operation: str) -> None:
        self.operations.add(operation)
        self._world.calls[operation] += 1
        if self.faults[operation]:
            raise self.faults[operation].popleft()
