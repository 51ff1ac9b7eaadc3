"""EC2 instances that are machines of the deployment.

moto's instances are data that run as soon as they are asked for. Here, an instance is `pending` until its machine has
booted and has told its address, `shutting-down` until the machine is gone, and `stopped` once the machine is found to
have stopped by itself. An image id may be a Systems Manager parameter, which is resolved at launch. Calls of the API,
Auto Scaling's and CloudFormation's come through the same methods of moto's backend.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import Instance, InstanceState, Reservation, StateReason
from moto.ssm.models import ssm_backends

from local.endpoint.machines import World
from local.endpoint.patches import Patches

_RESOLVE = "resolve:ssm:"
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopped": 80}
_MISSING_FOR = 3.0  # seconds that a machine does not run before it is called stopped: it may be rebooting
_log = logging.getLogger(__name__)


class Instances:
    """Launches and ends the world's machines, each in a thread of its own."""

    def __init__(self, world: World, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`changed` is told whenever an instance has got another state."""
        self._world = world
        self._changed = changed
        self._clock = clock
        self._locks: dict[str, threading.Lock] = {}
        self._missing: dict[str, float] = {}
        self._terminate: Callable[[Instance], InstanceState]

    def install(self, patches: Patches) -> None:
        """Extend moto's backend."""
        self._terminate = Instance.terminate
        patches.replace(EC2Backend, "run_instances", self._running)
        patches.replace(Instance, "terminate", self._terminating)
        for name in ("describe_instances", "get_reservations_by_instance_ids"):
            patches.replace(EC2Backend, name, self._observing)
        for name in ("start_instances", "stop_instances"):
            patches.replace(EC2Backend, name, _refusing)

    def observe(self, backend: EC2Backend) -> None:
        """Note which running instances' machines have stopped or vanished."""
        states = self._world.states()
        now = self._clock()
        for reservation in list(backend.reservations.values()):
            for instance in reservation.instances:
                if instance.state != "running" or states.get(instance.id) == "running":
                    self._missing.pop(instance.id, None)
                elif now - self._missing.setdefault(instance.id, now) >= _MISSING_FOR:
                    message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
                    if instance.id in states:
                        self._set(instance, "stopped", message)
                    else:
                        self._terminate(instance)
                        self._set(instance, "terminated", message)

    # What replaces moto's methods. `call` is what was there before.

    def _running(self, call: Callable[..., Reservation]) -> Callable[..., Reservation]:
        def run(
            backend: EC2Backend, image_id: str, count: int, user_data: Any, security_group_names: Any, **kwargs: Any
        ) -> Reservation:
            template = kwargs.get("launch_template")
            if template and not image_id:
                image_id = backend._get_template_from_args(template).image_id
            image_id = _resolved(backend, image_id)
            if not self._world.has_image(image_id):
                raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
            reservation = call(backend, image_id, count, user_data, security_group_names, **kwargs)
            for instance in reservation.instances:
                self._locks[instance.id] = threading.Lock()
                self._set(instance, "pending")
                self._in_thread(self._launch, instance)
            return reservation

        return run

    def _terminating(self, _call: Callable[..., Any]) -> Callable[..., InstanceState]:
        def terminate(instance: Instance) -> InstanceState:
            previous = copy.copy(instance._state)
            if previous.name not in ("shutting-down", "terminated"):
                self._set(instance, "shutting-down", "Client.UserInitiatedShutdown: User initiated shutdown")
                self._in_thread(self._end, instance)
            return previous

        return terminate

    def _observing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def describe(backend: EC2Backend, *args: Any, **kwargs: Any) -> Any:
            self.observe(backend)
            return call(backend, *args, **kwargs)

        return describe

    # In threads

    def _launch(self, instance: Instance) -> None:
        with self._locks[instance.id]:
            if instance.state != "pending":
                return
            try:
                address = self._world.launch(instance.id, instance.image_id, _text(instance.user_data))
            except Exception as error:
                _log.exception("launching %s", instance.id)
                self._terminate(instance)
                self._set(instance, "terminated", f"Server.InternalError: {error}")
                return
            instance.nics[0].private_ip_address = address
            if instance.state == "pending":
                self._set(instance, "running")

    def _end(self, instance: Instance) -> None:
        with self._locks.setdefault(instance.id, threading.Lock()):
            try:
                self._world.terminate(instance.id)
            except Exception:
                _log.exception("terminating %s; whatever is left of it goes with the deployment", instance.id)
            reason = instance.state_reason
            self._terminate(instance)
            self._set(instance, "terminated", reason.message)

    def _in_thread(self, function: Callable[[Instance], None], instance: Instance) -> None:
        threading.Thread(target=function, args=(instance,), name=f"{function.__name__} {instance.id}").start()

    def _set(self, instance: Instance, state: str, message: str = "") -> None:
        instance._state = InstanceState(state, _CODES[state])
        instance.state_reason = StateReason(message, message.partition(":")[0])
        self._changed()


def _resolved(backend: EC2Backend, image_id: str) -> str:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-systems-manager-parameter-to-find-AMI.html"""
    if not image_id.startswith(_RESOLVE):
        return image_id
    name = image_id.removeprefix(_RESOLVE)
    parameter = ssm_backends[backend.account_id][backend.region_name].get_parameter(name)
    if parameter is None or not parameter.value.startswith("ami-"):
        value = f"holds {parameter.value!r}" if parameter else "does not exist"
        raise EC2ClientError("InvalidParameterValue", f"Systems Manager parameter {name}, asked for an AMI id, {value}")
    return str(parameter.value)


def _text(user_data: Base64EncodedString | str | None) -> str | None:
    return user_data.decode() if isinstance(user_data, Base64EncodedString) else user_data


def _refusing(_call: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*_: Any) -> None:
        raise EC2ClientError("UnsupportedOperation", "Instances of this endpoint are launched and terminated only")

    return refuse
