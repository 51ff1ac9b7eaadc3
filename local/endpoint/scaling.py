"""EC2 Auto Scaling: a thread that brings every group to its size, as the service does, and instance refreshes.

moto launches and ends instances while it answers, keeps no activities and has no instance refreshes. Here, requests
only say what is wanted; launches and terminations follow, are noted as activities, and are tried again after a pause
when they fail. An instance that leaves is deregistered, drained and only then terminated. In a refresh, an old instance
leaves when a new one is healthy in all the group's target groups, or in service where the group does not ask these.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import ASG_NAME_TAG, AutoScalingBackend, FakeAutoScalingGroup, InstanceState

from local.endpoint.balancing import Balancing
from local.endpoint.groups import GroupHistory, Refresh
from local.endpoint.instances import Instances

_INTERVAL = 1.0  # seconds between looks at what nobody tells of: health, machines that died, the end of a drain
REFRESH_PATIENCE = 3600.0  # seconds without progress until EC2 Auto Scaling gives a refresh up
_ALIVE = ("Pending", "InService")
_log = logging.getLogger(__name__)


class Scaling:
    """The groups of all backends, and the thread. Whoever changes a group holds `lock` and calls `wake`."""

    def __init__(self, balancing: Balancing, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self._balancing = balancing
        self._clock = clock
        self._histories: dict[str, GroupHistory] = {}
        self._backends: dict[int, AutoScalingBackend] = {}
        self._awake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scaling", daemon=True)
        self.instances: Instances

    def start(self, instances: Instances) -> None:
        """Begin to look after the groups."""
        self.instances = instances
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the instances stay."""
        self._ended.set()
        self._awake.set()
        self._thread.join()

    def wake(self) -> None:
        """Something changed: look at once."""
        self._awake.set()

    def watch(self, group: FakeAutoScalingGroup) -> None:
        """Look after a new group, and forget one of the same name that was before it."""
        self._histories.pop(group.name, None)
        self._backends[id(group.autoscaling_backend)] = group.autoscaling_backend
        self.wake()

    def history(self, group_name: str) -> GroupHistory:
        """What was done to the group; outlives it."""
        return self._histories.setdefault(group_name, GroupHistory())

    def leave(self, group: FakeAutoScalingGroup, state: InstanceState, cause: str) -> None:
        """Take an instance out of service."""
        if state.lifecycle_state == "Terminating":
            return
        state.lifecycle_state = "Terminating"
        self.history(group.name).end(state.instance_id, "Cancelled", "It was terminated before it was in service.")
        self.history(group.name).begin(f"Terminating EC2 instance: {state.instance_id}", cause, state.instance_id)
        for arn in self._target_groups(group):
            if state.instance_id in group.autoscaling_backend.elbv2_backend.target_groups[arn].targets:
                group.autoscaling_backend.elbv2_backend.deregister_targets(arn, [{"Id": state.instance_id}])

    # The thread

    def _run(self) -> None:
        while not self._ended.is_set():
            self._awake.wait(_INTERVAL)
            self._awake.clear()
            for backend in list(self._backends.values()):
                for group in list(backend.autoscaling_groups.values()):
                    try:
                        self.look_after(group)
                    except Exception:  # whatever it is with this group, the others go on and this one is seen again
                        _log.exception("Auto Scaling group %s", group.name)

    def look_after(self, group: FakeAutoScalingGroup) -> None:
        """Take the next steps that bring the group to what it should be."""
        if group.instance_states:
            self.instances.observe(group.ec2_backend)
        refresh = self.history(group.name).refresh
        healthy = (
            {state.instance_id for state in self._alive(group) if self._healthy(group, state)} if refresh else set()
        )
        with self.lock:
            for state in list(group.instance_states):
                self._follow(group, state)
            if refresh and refresh.active:
                self._refresh(group, refresh, healthy)
            else:
                self._resize(group)
            if getattr(group, "deleting", False) and not group.instance_states:
                group.autoscaling_backend.autoscaling_groups.pop(group.name, None)

    def _follow(self, group: FakeAutoScalingGroup, state: InstanceState) -> None:
        """Note what has become of an instance."""
        instance, history = state.instance, self.history(group.name)
        if state.lifecycle_state == "Pending" and instance.state == "running":
            for arn in self._target_groups(group):
                group.autoscaling_backend.elbv2_backend.register_targets(arn, [{"Id": instance.id}])
            state.lifecycle_state = "InService"
            history.end(instance.id)
            history.launched()
        elif state.lifecycle_state == "Pending" and instance.state != "pending":
            reason = instance.state_reason.message or f"The instance is {instance.state}."
            history.end(instance.id, "Failed", reason)
            history.pause(self._clock())
            self._drop(group, state)
        elif state.lifecycle_state == "InService" and instance.state != "running":
            state.health_status = "Unhealthy"
            self.leave(
                group,
                state,
                "an instance was taken out of service in response to an EC2 health check indicating it has been "
                "terminated or stopped.",
            )
        elif state.lifecycle_state == "InService" and state.health_status == "Unhealthy":
            self.leave(group, state, "an instance was taken out of service in response to a user health-check.")
        elif state.lifecycle_state == "Terminating" and instance.state == "terminated":
            history.end(instance.id)
            self._drop(group, state)
        elif state.lifecycle_state == "Terminating" and instance.state != "shutting-down":
            draining = any(self._balancing.is_draining(arn, instance.id) for arn in self._target_groups(group))
            if not draining or instance.state != "running":
                instance.terminate()

    def _resize(self, group: FakeAutoScalingGroup) -> None:
        alive, desired = list(self._alive(group)), group.desired_capacity or 0
        self._launch(
            group, desired - len(alive), f"an instance was started to reach the desired capacity of {desired}."
        )
        unprotected = [state for state in alive if not state.protected_from_scale_in]
        # As the groups' termination policy, NewestInstance, says.
        newest = sorted(unprotected, key=lambda state: state.instance.launch_time, reverse=True)
        for state in newest[: max(len(alive) - desired, 0)]:
            self.leave(
                group, state, f"an instance was taken out of service to reach the desired capacity of {desired}."
            )

    def _refresh(self, group: FakeAutoScalingGroup, refresh: Refresh, healthy: set[str]) -> None:
        if refresh.status == "Cancelling":
            refresh.end("Cancelled", "Cancelled due to user request.")
            self.wake()
            return
        refresh.status = "InProgress"
        desired = group.desired_capacity or 0
        alive = list(self._alive(group))
        old = [state for state in alive if state.instance_id in refresh.old]
        new = [state for state in alive if state.instance_id not in refresh.old]
        fit = sum(1 for state in new if state.instance_id in healthy)
        room = refresh.bearable(desired) - len(group.instance_states)
        cause = "an instance was launched in response to an instance refresh."
        self._launch(group, min(desired - len(new), room), cause)
        # Those that serve worst go first: an old one that is not healthy keeps nobody's session.
        spare = len(old) + fit - refresh.needed(desired)
        for state in sorted(old, key=lambda state: state.instance_id in healthy)[: max(spare, 0)]:
            self.leave(group, state, "an instance was taken out of service in response to an instance refresh.")
        present = {state.instance_id for state in group.instance_states}
        replaced = len(refresh.old - present)
        if replaced > refresh.replaced:
            refresh.replaced, refresh.deadline = replaced, self._clock() + REFRESH_PATIENCE
        if not refresh.old & present and fit >= desired:
            refresh.end("Successful")
        elif self._clock() > refresh.deadline:
            refresh.end("Failed", self._failure(group))

    def _failure(self, group: FakeAutoScalingGroup) -> str:
        failed = [activity.message for activity in self.history(group.name).activities if activity.message]
        last = f" The last one that could not be launched: {failed[-1]}" if failed else ""
        return f"No new instance became healthy for {REFRESH_PATIENCE / 60:.0f} minutes.{last}"

    def _launch(self, group: FakeAutoScalingGroup, count: int, cause: str) -> None:
        history = self.history(group.name)
        for _ in range(count):
            if self._clock() < history.paused_until:
                return
            activity = history.begin("Launching a new EC2 instance", cause)
            try:
                instance = _run_instance(group)
            except Exception as error:
                activity.end("Failed", str(error))
                history.pause(self._clock())
                return
            activity.description = f"Launching a new EC2 instance: {instance.id}"
            history.running[instance.id] = activity
            instance.autoscaling_group = group
            state = InstanceState(
                instance, "Pending", protected_from_scale_in=group.new_instances_protected_from_scale_in
            )
            group.instance_states = [*group.instance_states, state]

    def _alive(self, group: FakeAutoScalingGroup) -> Iterator[InstanceState]:
        return (state for state in list(group.instance_states) if state.lifecycle_state in _ALIVE)

    def _healthy(self, group: FakeAutoScalingGroup, state: InstanceState) -> bool:
        elbv2 = group.autoscaling_backend.elbv2_backend
        asked = group.health_check_type == "ELB"
        return state.lifecycle_state == "InService" and all(
            self._balancing.is_healthy(elbv2, arn, state.instance_id)
            for arn in (self._target_groups(group) if asked else [])
        )

    def _target_groups(self, group: FakeAutoScalingGroup) -> list[str]:
        known = group.autoscaling_backend.elbv2_backend.target_groups
        return [arn for arn in group.target_group_arns or [] if arn in known]

    def _drop(self, group: FakeAutoScalingGroup, state: InstanceState) -> None:
        group.instance_states = [other for other in group.instance_states if other is not state]


def _run_instance(group: FakeAutoScalingGroup) -> Any:
    template = group.ec2_launch_template
    if template is None:
        raise ValidationError("This endpoint launches instances from launch templates only.")
    subnets = (group.vpc_zone_identifier or "").split(",")
    reservation = group.ec2_backend.run_instances(
        group.image_id,
        1,
        group.user_data,
        [],
        instance_type=group.instance_type,
        is_instance_type_default=False,
        tags={"instance": {**group.get_propagated_tags(), **group.instance_tags, ASG_NAME_TAG: group.name}},
        subnet_id=subnets[len(group.instance_states) % len(subnets)] or None,
        launch_template={"LaunchTemplateId": template.id, "Version": group.launch_template_version},
    )
    return reservation.instances[0]
