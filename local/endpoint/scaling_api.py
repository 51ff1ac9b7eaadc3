"""The requests to EC2 Auto Scaling that moto answers otherwise than the service, or not at all.

Sizes are checked and noted, and `Scaling` does the rest; a group with instances is not deleted unless that is forced;
activities and instance refreshes are answered from what `Scaling` keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, TerminateInstanceActivity
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from local.endpoint.groups import Refresh
from local.endpoint.patches import Patches
from local.endpoint.scaling import REFRESH_PATIENCE, Scaling

_PAGE = 100


class ScalingApi:
    """moto's Auto Scaling, answering for `scaling`."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling

    def install(self, patches: Patches) -> None:
        """Extend moto's backend and its responses."""
        patches.replace(AutoScalingBackend, "create_auto_scaling_group", self._creating)
        patches.replace(AutoScalingBackend, "delete_auto_scaling_group", self._deleting)
        patches.replace(AutoScalingBackend, "terminate_instance", self._terminating)
        patches.replace(AutoScalingBackend, "update_attached_target_groups", _registering)
        patches.replace(AutoScalingBackend, "notify_terminate_instances", self._waking)
        patches.replace(AutoScalingBackend, "set_instance_health", self._waking_after)
        patches.replace(FakeAutoScalingGroup, "set_desired_capacity", self._resizing)
        patches.replace(FakeAutoScalingGroup, "update", self._updating)
        answers: Mapping[str, Callable[[AutoScalingResponse], ActionResult]] = {
            "delete_auto_scaling_group": self._answer_delete,
            "describe_scaling_activities": self._answer_activities,
        }
        for name, answer in answers.items():
            patches.replace(AutoScalingResponse, name, _replacing(answer))
        patches.add(AutoScalingResponse, "start_instance_refresh", _method(self._answer_start_refresh))
        patches.add(AutoScalingResponse, "cancel_instance_refresh", _method(self._answer_cancel_refresh))
        patches.add(AutoScalingResponse, "describe_instance_refreshes", _method(self._answer_refreshes))

    # What replaces moto's methods. `call` is what was there before.

    def _creating(self, call: Callable[..., FakeAutoScalingGroup]) -> Callable[..., FakeAutoScalingGroup]:
        def create(backend: AutoScalingBackend, name: str, *args: Any, **kwargs: Any) -> FakeAutoScalingGroup:
            if name in backend.autoscaling_groups:
                raise AutoscalingClientError("AlreadyExists", f"AutoScalingGroup by this name already exists - {name}")
            with self._scaling.lock:
                group = call(backend, name, *args, **kwargs)
                self._scaling.watch(group)
            return group

        return create

    def _resizing(self, _call: Callable[..., Any]) -> Callable[..., None]:
        def set_desired_capacity(group: FakeAutoScalingGroup, new_capacity: int | None) -> None:
            capacity = int((group.min_size if new_capacity is None else new_capacity) or 0)
            _check_sizes(int(group.min_size or 0), int(group.max_size or 0), capacity)
            group.desired_capacity = capacity
            self._scaling.wake()

        return set_desired_capacity

    def _updating(self, call: Callable[..., None]) -> Callable[..., None]:
        def update(group: FakeAutoScalingGroup, **changes: Any) -> None:
            sizes = [changes[key] for key in ("min_size", "max_size", "desired_capacity")]
            least = int((group.min_size if sizes[0] is None else sizes[0]) or 0)
            most = int((group.max_size if sizes[1] is None else sizes[1]) or 0)
            current = int(group.desired_capacity or 0)
            desired = max(least, min(most, current)) if sizes[2] is None else int(sizes[2])
            _check_sizes(least, most, desired)
            policy = changes.pop("mixed_instances_policy", None) or group.mixed_instances_policy
            with self._scaling.lock:
                call(group, **{**changes, "desired_capacity": desired, "mixed_instances_policy": policy})

        return update

    def _deleting(self, _call: Callable[..., None]) -> Callable[..., None]:
        def delete(backend: AutoScalingBackend, group_name: str, force: bool = False) -> None:
            group = _group(backend, group_name)
            with self._scaling.lock:
                if group.instance_states and not force:
                    raise AutoscalingClientError(
                        "ResourceInUse",
                        "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance "
                        "request(s) still in the group.",
                    )
                group.min_size = group.desired_capacity = 0
                group.deleting = True  # type: ignore[attr-defined]
                group.status = "Delete in progress"  # type: ignore[attr-defined]
                if not group.instance_states:
                    backend.autoscaling_groups.pop(group_name, None)
            self._scaling.wake()

        return delete

    def _terminating(self, _call: Callable[..., Any]) -> Callable[..., TerminateInstanceActivity]:
        def terminate(backend: AutoScalingBackend, instance_id: str, should_decrement: bool) -> Any:
            with self._scaling.lock:
                for group in backend.autoscaling_groups.values():
                    for state in group.instance_states:
                        if state.instance_id == instance_id:
                            capacity = int(group.desired_capacity or 0)
                            if should_decrement:
                                group.set_desired_capacity(capacity - 1)
                            self._scaling.leave(
                                group, state, "instance was taken out of service in response to a user request."
                            )
                            self._scaling.wake()
                            return TerminateInstanceActivity(state.instance, capacity)
            raise ValidationError(f"Instance Id not found - No managed instance found for instance ID {instance_id}")

        return terminate

    def _waking(self, _call: Callable[..., Any]) -> Callable[..., None]:
        return lambda *_: self._scaling.wake()

    def _waking_after(self, call: Callable[..., Any]) -> Callable[..., None]:
        def change(*args: Any) -> None:
            call(*args)
            self._scaling.wake()

        return change

    # Answers

    def _answer_delete(self, response: AutoScalingResponse) -> ActionResult:
        name, force = response._get_param("AutoScalingGroupName"), response._get_bool_param("ForceDelete", False)
        response.autoscaling_backend.delete_auto_scaling_group(name, force=force)  # type: ignore[call-arg]
        return EmptyResult()

    def _answer_activities(self, response: AutoScalingResponse) -> ActionResult:
        name = response._get_param("AutoScalingGroupName")
        known = response.autoscaling_backend.autoscaling_groups
        names = [name] if name else list(known)
        if name and name not in known and not response._get_bool_param("IncludeDeletedGroups", False):
            _group(response.autoscaling_backend, name)
        wanted = response._get_param("ActivityIds", [])
        found = [
            activity.document(name)
            for name in names
            for activity in list(self._scaling.history(name).activities)
            if not wanted or activity.activity_id in wanted
        ]
        found.sort(key=lambda activity: activity["StartTime"], reverse=True)
        return _page(response, "Activities", found)

    def _answer_start_refresh(self, response: AutoScalingResponse) -> ActionResult:
        group = _group(response.autoscaling_backend, response._get_param("AutoScalingGroupName"))
        if response._get_param("DesiredConfiguration"):
            raise ValidationError("DesiredConfiguration is not supported by this endpoint")
        preferences = response._get_param("Preferences", {})
        least = int(preferences.get("MinHealthyPercentage", 90))
        most = int(preferences.get("MaxHealthyPercentage", 100))
        if not (0 <= least <= 100 <= most <= 200 and most - least <= 100):
            raise ValidationError(
                "MinHealthyPercentage is 0 to 100, MaxHealthyPercentage 100 to 200, and at most 100 above the former"
            )
        history = self._scaling.history(group.name)
        with self._scaling.lock:
            if history.refresh:
                raise AutoscalingClientError(
                    "InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution"
                )
            old = frozenset(state.instance_id for state in group.instance_states)
            refresh = Refresh(old, preferences, time.monotonic() + REFRESH_PATIENCE)
            history.refreshes.append(refresh)
        self._scaling.wake()
        return ActionResult({"InstanceRefreshId": refresh.refresh_id})

    def _answer_cancel_refresh(self, response: AutoScalingResponse) -> ActionResult:
        group = _group(response.autoscaling_backend, response._get_param("AutoScalingGroupName"))
        with self._scaling.lock:
            refresh = self._scaling.history(group.name).refresh
            if refresh is None:
                raise AutoscalingClientError(
                    "ActiveInstanceRefreshNotFound",
                    f"No in progress or pending Instance Refresh found for {group.name}",
                )
            refresh.status = "Cancelling"
        self._scaling.wake()
        return ActionResult({"InstanceRefreshId": refresh.refresh_id})

    def _answer_refreshes(self, response: AutoScalingResponse) -> ActionResult:
        group = _group(response.autoscaling_backend, response._get_param("AutoScalingGroupName"))
        wanted = response._get_param("InstanceRefreshIds", [])
        refreshes = reversed(self._scaling.history(group.name).refreshes)
        found = [item.document(group.name) for item in refreshes if not wanted or item.refresh_id in wanted]
        return _page(response, "InstanceRefreshes", found)


def _registering(_call: Callable[..., Any]) -> Callable[..., None]:
    def register(backend: AutoScalingBackend, group_name: str) -> None:
        """Only instances that are in service; those to come are registered when they are."""
        group = backend.autoscaling_groups[group_name]
        targets = [{"Id": state.instance_id} for state in group.active_instances()]
        for arn in group.target_group_arns if targets else []:
            backend.elbv2_backend.register_targets(arn, targets)

    return register


def _method(answer: Callable[[AutoScalingResponse], ActionResult]) -> Callable[[AutoScalingResponse], ActionResult]:
    """A function, which a class takes for a method where it would not take a bound method."""
    return lambda response: answer(response)


def _replacing(answer: Callable[[AutoScalingResponse], ActionResult]) -> Callable[..., Callable[..., ActionResult]]:
    return lambda _: _method(answer)


def _group(backend: AutoScalingBackend, name: str) -> FakeAutoScalingGroup:
    try:
        return backend.autoscaling_groups[name]
    except KeyError:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found") from None


def _check_sizes(least: int, most: int, desired: int) -> None:
    if least > most:
        raise ValidationError(f"Max bound, {most}, must be greater than or equal to min bound, {least}")
    if not least <= desired <= most:
        raise ValidationError(
            f"Desired capacity:{desired} must be between the specified min size:{least} and max size:{most}"
        )


def _page(response: AutoScalingResponse, key: str, found: list[dict[str, Any]]) -> ActionResult:
    start = int(response._get_param("NextToken") or 0)
    end = start + min(response._get_int_param("MaxRecords") or _PAGE, _PAGE)
    return ActionResult({key: found[start:end], "NextToken": str(end) if end < len(found) else None})
