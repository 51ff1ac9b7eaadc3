"""Elastic Load Balancing: Network Load Balancers that are the deployment's HAProxies.

moto keeps load balancers as data and calls every registered target healthy. Here, the internet-facing balancer is the
deployment's `public` one and the internal its `internal`; listeners and target groups become theirs within a moment,
DescribeTargetHealth tells what they found, and a deregistered target drains. Calls of the API and CloudFormation's come
through the same methods of moto's backend.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeListener, FakeLoadBalancer, FakeTargetGroup

from local.balancer import HealthCheck, TargetHealth
from local.endpoint.machines import ROLES, World
from local.endpoint.patches import Patches
from local.record import INTERNAL, PUBLIC, ListenerRecord

_BALANCERS = {"internet-facing": PUBLIC, "internal": INTERNAL}
_LONGEST_DRAIN = 10.0  # seconds: nobody waits for minutes on one's own machine
_RETRY = 5.0  # seconds until listeners that could not be applied are tried again
_LISTENER_CHANGES = (
    "create_load_balancer",
    "delete_load_balancer",
    "create_listener",
    "modify_listener",
    "delete_listener",
    "modify_target_group",
    "modify_target_group_attributes",
    "register_targets",
)
_log = logging.getLogger(__name__)


class Balancing:
    """Keeps the world's load balancers what the ELBv2 backends say, in a thread of its own."""

    def __init__(self, world: World, clock: Callable[[], float] = time.monotonic) -> None:
        self._world = world
        self._clock = clock
        self._backends: dict[int, ELBv2Backend] = {}
        self._draining: dict[tuple[str, str], float] = {}
        self._lock = threading.RLock()
        self._dirty = threading.Event()
        self._applied: dict[str, list[ListenerRecord]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="balancing", daemon=True)

    def install(self, patches: Patches) -> None:
        """Extend moto's backend, and start."""
        for name in _LISTENER_CHANGES:
            patches.replace(ELBv2Backend, name, self._noting)
        patches.replace(ELBv2Backend, "create_load_balancer", self._naming)
        patches.replace(ELBv2Backend, "deregister_targets", self._deregistering)
        patches.replace(ELBv2Backend, "notify_terminate_instances", self._terminated)
        patches.replace(ELBv2Backend, "describe_target_health", self._describing)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the balancers stay as they are."""
        self._ended.set()
        self._dirty.set()
        self._thread.join()

    def is_healthy(self, backend: ELBv2Backend, target_group_arn: str, instance_id: str) -> bool:
        """Whether the target group's balancer finds the instance healthy."""
        group = backend.target_groups.get(target_group_arn)
        return group is not None and self._state(backend, group, instance_id, group.port).status == "healthy"

    def is_draining(self, target_group_arn: str, instance_id: str) -> bool:
        """Whether connections of a deregistered target are still given time to end."""
        with self._lock:
            return self._draining.get((target_group_arn, instance_id), 0) > self._clock()

    # What replaces moto's methods. `call` is what was there before.

    def _noting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def change(backend: ELBv2Backend, *args: Any, **kwargs: Any) -> Any:
            with self._lock:
                result = call(backend, *args, **kwargs)
                self._note(backend)
            return result

        return change

    def _naming(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def create(backend: ELBv2Backend, *args: Any, scheme: str | None = None, **kwargs: Any) -> Any:
            scheme = scheme or "internet-facing"
            with self._lock:
                if any(other.scheme == scheme for other in backend.load_balancers.values()):
                    raise ELBClientError("TooManyLoadBalancers", f"There is an {scheme} load balancer already")
                balancer = call(backend, *args, scheme=scheme, **kwargs)
                balancer.dns_name = self._world.dns_name(_BALANCERS[scheme])
            return balancer

        return create

    def _deregistering(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def deregister(backend: ELBv2Backend, target_group_arn: str, instances: list[dict[str, Any]]) -> None:
            with self._lock:
                call(backend, target_group_arn, instances)
                group = backend.target_groups[target_group_arn]
                delay = float(str(group.attributes["deregistration_delay.timeout_seconds"]))
                end = self._clock() + min(delay, _LONGEST_DRAIN)
                for target in instances:
                    self._draining[target_group_arn, target["Id"]] = end
                self._note(backend)

        return deregister

    def _terminated(self, _call: Callable[..., Any]) -> Callable[..., Any]:
        def notify(backend: ELBv2Backend, instance_ids: list[str]) -> None:
            for arn, group in list(backend.target_groups.items()):
                gone = [{"Id": target} for target in group.targets if target in instance_ids]
                if gone:
                    backend.deregister_targets(arn, gone)

        return notify

    def _describing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def describe(
            backend: ELBv2Backend, target_group_arn: str, targets: list[dict[str, Any]]
        ) -> list[FakeHealthStatus]:
            call(backend, target_group_arn, targets)  # refuses what it does not know
            group = backend.target_groups[target_group_arn]
            with self._lock:
                draining = [id_ for arn, id_ in self._draining if arn == group.arn and self.is_draining(arn, id_)]
                asked = targets or [*group.targets.values(), *({"Id": id_} for id_ in draining)]
            return [self._state(backend, group, target["Id"], target.get("Port", group.port)) for target in asked]

        return describe

    def _state(self, backend: ELBv2Backend, group: FakeTargetGroup, instance_id: str, port: Any) -> FakeHealthStatus:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html"""

        def status(state: str, reason: str | None = None, description: str | None = None) -> FakeHealthStatus:
            return FakeHealthStatus(instance_id, port, group.health_check_port, state, reason, description)

        if instance_id not in group.targets:
            if self.is_draining(group.arn, instance_id):
                return status("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
            return status("unused", "Target.NotRegistered", "Target is not registered to the target group")
        instance = backend.ec2_backend.get_instance_by_id(instance_id)
        if instance is None or instance.state != "running":
            state = instance.state if instance else "unknown"
            return status("unused", "Target.InvalidState", f"Target is in the {state} state")
        found = [self._found(balancer, listener, instance_id) for balancer, listener in _users(backend, group.arn)]
        if not found:
            return status("unused", "Target.NotInUse", "Target group is not configured to receive traffic")
        if not all(found):
            return status("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
        verdicts = [entry for entry in found if entry]
        if not all(entry.asked for entry in verdicts):
            return status("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
        failed = [entry.reason for entry in verdicts if not entry.healthy]
        if failed:
            return status("unhealthy", "Target.FailedHealthChecks", f"Health checks failed: {failed[0]}")
        return status("healthy")

    def _found(self, balancer: FakeLoadBalancer, listener: FakeListener, instance_id: str) -> TargetHealth | None:
        return self._world.health(_BALANCERS[balancer.scheme]).get((int(listener.port), instance_id))

    # The thread

    def _note(self, backend: ELBv2Backend) -> None:
        self._backends[id(backend)] = backend
        self._dirty.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._dirty.wait()
            self._dirty.clear()
            try:
                self._apply()
            except Exception:  # whatever it is, the next change must find the thread alive
                _log.exception("load balancers keep their former listeners; trying again in %.0f s", _RETRY)
                if not self._ended.wait(_RETRY):
                    self._dirty.set()

    def _apply(self) -> None:
        with self._lock:
            wanted: dict[str, list[ListenerRecord]] = {PUBLIC: [], INTERNAL: []}
            for backend in self._backends.values():
                for balancer in backend.load_balancers.values():
                    name = _BALANCERS[balancer.scheme]
                    wanted[name] += [_record(backend, name, listener) for listener in balancer.listeners.values()]
        for name, listeners in wanted.items():
            if self._applied.get(name) != listeners:
                self._world.set_listeners(name, listeners)
                self._applied[name] = listeners


def _users(backend: ELBv2Backend, target_group_arn: str) -> Iterator[tuple[FakeLoadBalancer, FakeListener]]:
    for balancer in list(backend.load_balancers.values()):
        for listener in list(balancer.listeners.values()):
            if target_group_arn in _target_groups(backend, listener):
                yield balancer, listener


def _target_groups(backend: ELBv2Backend, listener: FakeListener) -> list[str]:
    return [arn for action in listener.default_actions for arn in backend._get_target_group_arns_from(action.data)]


def _record(backend: ELBv2Backend, balancer: str, listener: FakeListener) -> ListenerRecord:
    (target_group_arn,) = _target_groups(backend, listener)  # more than one is for other kinds of load balancers
    group = backend.target_groups[target_group_arn]
    port = group.health_check_port
    http = group.health_check_protocol in ("HTTP", "HTTPS")
    return ListenerRecord(
        port=int(listener.port),
        target_port=int(group.port),
        role=ROLES[balancer],
        health_check=HealthCheck(
            None if port in (None, "traffic-port") else int(port), (group.health_check_path or "/") if http else None
        ),
        registered=tuple(group.targets),
    )
