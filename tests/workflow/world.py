"""A small AWS of our own, as far as the workflow goes: Image Builder, Parameter Store, Auto Scaling, load balancing.

Time passes only when the state machine waits. Every request is checked against the service's own model, so a parameter
that AWS would refuse is refused here. It knows the behaviours that the workflow leans on, and no others:

- a pipeline acts once on a client token; builds take time and end as they are told to;
- a parameter of type `aws:ec2:image` shows a new value a little after it was put;
- a group starts instances of the published image; they become healthy after a while, or never for a bad image;
- an instance refresh keeps the healthy percentage that it was asked to keep; what is healthy, the load balancers say in
  groups that ask them, and elsewhere an instance is once it has booted; cancelling one takes a second.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.workflow.errors import service_error

BUILD_SECONDS = 40
BOOT_SECONDS = 20
_VISIBLE_AFTER_LOOKS = 1


@dataclass
class Build:
    """An image that a pipeline makes."""

    arn: str
    pipeline_arn: str
    started: float
    outcome: str
    reason: str
    image_id: str
    created: str
    takes: float
    cancelled: bool = False

    def status(self, now: float) -> str:
        if self.cancelled:
            return "CANCELLED"
        return "BUILDING" if now - self.started < self.takes else self.outcome


@dataclass
class Instance:
    """A machine of a group."""

    instance_id: str
    image_id: str
    started: float


@dataclass
class Refresh:
    """An instance refresh and the instances that were there when it began."""

    preferences: dict[str, Any]
    old: list[str]
    status: str = "InProgress"
    replaced: int = 0
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def percentage(self) -> int:
        """How much of it is done."""
        return 100 * self.replaced // max(len(self.old), 1)


@dataclass
class Group:
    """An Auto Scaling group."""

    name: str
    image_parameter: str
    target_groups: list[str] = field(default_factory=list)
    minimum: int = 0
    maximum: int = 0
    desired: int = 0
    health_check_type: str = ""
    instances: list[Instance] = field(default_factory=list)
    refreshes: list[Refresh] = field(default_factory=list)
    fewest_healthy: int | None = None  # since the group was last healthy as a whole

    @property
    def refresh(self) -> Refresh | None:
        """The refresh that is under way."""
        return next((refresh for refresh in self.refreshes if refresh.status in ("InProgress", "Cancelling")), None)


class World:
    """The account. Its clock stands still but for `pass_time`."""

    def __init__(self, pipelines: dict[str, str], groups: dict[str, Group]) -> None:
        self.now = 0.0
        self._pipelines = pipelines  # ARN to image name
        self.groups = groups
        self.parameters = {group.image_parameter: "ami-0000base" for group in groups.values()}
        self._pending: dict[str, list[Any]] = {}
        self.builds: list[Build] = []
        self._tokens: dict[str, str] = {}
        self.outcomes: dict[str, deque[tuple[str, str]]] = {name: deque() for name in pipelines.values()}
        self.build_seconds: dict[str, float] = {}
        self.bad_images: Callable[[str], bool] = lambda _: False
        self.calls: Counter[str] = Counter()
        self._numbers = iter(range(1, 10_000))

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, second by second, and things happen in it."""
        for _ in range(round(seconds)):
            self.now += 1
            for group in self.groups.values():
                self._settle(group)

    def standing(self) -> dict[str, Any]:
        """What a failed deployment must leave as it was."""
        return {
            "parameters": dict(self.parameters),
            "groups": {
                name: (group.minimum, group.maximum, group.desired, group.health_check_type)
                for name, group in self.groups.items()
            },
            "running": {
                name: sorted(instance.image_id for instance in group.instances) for name, group in self.groups.items()
            },
            "building": [build.arn for build in self.builds if build.status(self.now) == "BUILDING"],
            "refreshing": [name for name, group in self.groups.items() if group.refresh],
        }

    def healthy(self, group: Group) -> list[Instance]:
        """Instances that answer their load balancer."""
        return [instance for instance in self._booted(group) if not self.bad_images(instance.image_id)]

    def _booted(self, group: Group) -> list[Instance]:
        return [instance for instance in group.instances if self.now - instance.started >= BOOT_SECONDS]

    # Auto Scaling's own doing

    def _settle(self, group: Group) -> None:
        if group.refresh is not None and group.refresh.status == "Cancelling":
            group.refresh.status = "Cancelled"
        if group.refresh is not None:
            self._go_on_replacing(group, group.refresh)
        while len(group.instances) < group.desired:
            self._launch(group)
        if group.refresh is None:
            # Newest first, as the group's termination policy says.
            del group.instances[group.desired :]
        if group.fewest_healthy is not None:
            group.fewest_healthy = min(group.fewest_healthy, len(self.healthy(group)))

    def _go_on_replacing(self, group: Group, refresh: Refresh) -> None:
        keep = group.desired * refresh.preferences["MinHealthyPercentage"] // 100
        most = group.desired * refresh.preferences["MaxHealthyPercentage"] // 100
        new = [instance for instance in group.instances if instance.instance_id not in refresh.old]
        healthy = self.healthy(group) if group.health_check_type == "ELB" else self._booted(group)
        healthy_new = [instance for instance in healthy if instance in new]
        old = [instance for instance in group.instances if instance.instance_id in refresh.old]
        while len(new) < group.desired and len(group.instances) < most:
            new.append(self._launch(group))
        while old and len(healthy_new) + len(old) > keep:
            group.instances.remove(old.pop(0))
            refresh.replaced += 1
        if not old and len(healthy_new) >= group.desired:
            refresh.status = "Successful"

    def _launch(self, group: Group) -> Instance:
        instance = Instance(f"i-{next(self._numbers):04}", self.parameters[group.image_parameter], self.now)
        group.instances.append(instance)
        return instance

    # Image Builder

    def start_image_pipeline_execution(self, request: dict[str, Any]) -> dict[str, Any]:
        token, arn = request["clientToken"], request["imagePipelineArn"]
        if token not in self._tokens:
            name, number = self._pipelines[arn], next(self._numbers)
            outcome, reason = self.outcomes[name].popleft() if self.outcomes[name] else ("AVAILABLE", "")
            takes = self.build_seconds.get(name, BUILD_SECONDS)
            created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            build_arn = arn.replace(":image-pipeline/", ":image/") + f"/1.0.7/{number}"
            self.builds.append(
                Build(build_arn, arn, self.now, outcome, reason, f"ami-{number:04}{name}", created, takes)
            )
            self._tokens[token] = build_arn
        return {"imageBuildVersionArn": self._tokens[token]}

    def list_image_pipeline_images(self, request: dict[str, Any]) -> dict[str, Any]:
        builds = [build for build in self.builds if build.pipeline_arn == request["imagePipelineArn"]]
        return {"imageSummaryList": [self._summary(build) for build in builds]}

    def cancel_image_creation(self, request: dict[str, Any]) -> dict[str, Any]:
        (build,) = (build for build in self.builds if build.arn == request["imageBuildVersionArn"])
        if build.status(self.now) != "BUILDING":
            raise service_error("InvalidRequestException", "CancelImageCreation")
        build.cancelled = True
        return {}

    def _summary(self, build: Build) -> dict[str, Any]:
        status = build.status(self.now)
        return {
            "arn": build.arn,
            "state": {
                "status": status,
                **({"reason": build.reason} if status == build.outcome and build.reason else {}),
            },
            "buildType": "USER_INITIATED",
            "dateCreated": build.created,
            "outputResources": {
                "amis": [{"region": "eu-central-1", "image": build.image_id}] if status == "AVAILABLE" else []
            },
        }

    # Parameter Store

    def get_parameters(self, request: dict[str, Any]) -> dict[str, Any]:
        for name in request["Names"]:
            if name in self._pending:
                self._pending[name][1] -= 1
                if self._pending[name][1] < 0:
                    self.parameters[name] = self._pending.pop(name)[0]
        return {
            "Parameters": [
                {"Name": name, "Value": self.parameters[name]} for name in request["Names"] if name in self.parameters
            ]
        }

    def put_parameter(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["DataType"] == "aws:ec2:image"
        self._pending[request["Name"]] = [request["Value"], _VISIBLE_AFTER_LOOKS]
        return {}

    # EC2 Auto Scaling

    def describe_auto_scaling_groups(self, request: dict[str, Any]) -> dict[str, Any]:
        groups = [self.groups[name] for name in request["AutoScalingGroupNames"] if name in self.groups]
        return {
            "AutoScalingGroups": [
                {
                    "AutoScalingGroupName": group.name,
                    "MinSize": group.minimum,
                    "MaxSize": group.maximum,
                    "DesiredCapacity": group.desired,
                    "TargetGroupARNs": group.target_groups,
                    "Instances": [
                        {"InstanceId": instance.instance_id, "LifecycleState": "InService"}
                        for instance in group.instances
                    ],
                }
                for group in groups
            ]
        }

    def describe_instance_refreshes(self, request: dict[str, Any]) -> dict[str, Any]:
        refreshes = self.groups[request["AutoScalingGroupName"]].refreshes
        return {
            "InstanceRefreshes": [
                {
                    "Status": refresh.status,
                    "StartTime": refresh.started,
                    "PercentageComplete": refresh.percentage,
                }
                for refresh in reversed(refreshes)
            ][:1]
        }

    def describe_scaling_activities(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"Activities": []}

    def update_auto_scaling_group(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self.groups[request["AutoScalingGroupName"]]
        minimum, maximum = request.get("MinSize", group.minimum), request.get("MaxSize", group.maximum)
        desired = request.get("DesiredCapacity", max(minimum, min(maximum, group.desired)))
        if not minimum <= desired <= maximum:
            raise service_error("ValidationError", "UpdateAutoScalingGroup")
        group.minimum, group.maximum, group.desired = minimum, maximum, desired
        group.health_check_type = request.get("HealthCheckType", group.health_check_type)
        return {}

    def start_instance_refresh(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self.groups[request["AutoScalingGroupName"]]
        if group.refresh is not None:
            raise service_error("InstanceRefreshInProgress", "StartInstanceRefresh")
        old = [instance.instance_id for instance in group.instances]
        group.refreshes.append(Refresh(request["Preferences"], old))
        group.fewest_healthy = len(self.healthy(group))
        return {"InstanceRefreshId": "r"}

    def cancel_instance_refresh(self, request: dict[str, Any]) -> dict[str, Any]:
        refresh = self.groups[request["AutoScalingGroupName"]].refresh
        if refresh is None:
            raise service_error("ActiveInstanceRefreshNotFound", "CancelInstanceRefresh")
        refresh.status = "Cancelling"
        return {}

    # Load balancing

    def describe_target_health(self, request: dict[str, Any]) -> dict[str, Any]:
        (group,) = (group for group in self.groups.values() if request["TargetGroupArn"] in group.target_groups)
        healthy = self.healthy(group)
        return {
            "TargetHealthDescriptions": [
                {
                    "Target": {"Id": instance.instance_id},
                    "TargetHealth": {"State": "healthy"}
                    if instance in healthy
                    else {"State": "unhealthy", "Description": "Health checks failed with these codes: [503]"},
                }
                for instance in group.instances
            ]
        }
