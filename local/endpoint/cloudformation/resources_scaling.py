"""Resource types of Amazon EC2 Auto Scaling, and the launch templates that groups start from.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_AutoScaling.html
"""

from __future__ import annotations

import time
from typing import Any

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceError, ResourceType, register

_GROUP_GONE_WITHIN = 120  # seconds


@register
class LaunchTemplate(ResourceType):
    name = "AWS::EC2::LaunchTemplate"
    updates = True
    replaced_by = frozenset({"LaunchTemplateName", "TagSpecifications"})

    def create(self, context: Context, properties: Properties) -> Made:
        template = context.call(
            "ec2",
            "create_launch_template",
            LaunchTemplateName=properties.get("LaunchTemplateName") or context.name(),
            **properties.only("LaunchTemplateData", "TagSpecifications", "VersionDescription"),
        )["LaunchTemplate"]
        return self._made(template["LaunchTemplateId"], template["LatestVersionNumber"])

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        version = context.call(
            "ec2",
            "create_launch_template_version",
            LaunchTemplateId=made.ref,
            **new.only("LaunchTemplateData", "VersionDescription"),
        )["LaunchTemplateVersion"]
        return self._made(made.ref, version["VersionNumber"])

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "delete_launch_template", LaunchTemplateId=made.ref)

    def _made(self, identity: str, latest: int) -> Made:
        versions = {"LatestVersionNumber": str(latest), "DefaultVersionNumber": "1"}
        return Made(identity, {"LaunchTemplateId": identity, **versions})


@register
class AutoScalingGroup(ResourceType):
    """Of `NotificationConfigurations` nothing comes: nobody here would read them."""

    name = "AWS::AutoScaling::AutoScalingGroup"
    updates = True
    replaced_by = frozenset({"AutoScalingGroupName", "ServiceLinkedRoleARN"})
    _sizes = ("MinSize", "MaxSize", "DesiredCapacity")

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("AutoScalingGroupName") or context.name(255)
        parameters = self._parameters(name, properties)
        context.call("autoscaling", "create_auto_scaling_group", AutoScalingGroupName=name, **parameters)
        context.begun(Made(name))
        self._collect_metrics(context, name, properties)
        groups = context.call("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
        return Made(name, {"AutoScalingGroupARN": groups["AutoScalingGroups"][0]["AutoScalingGroupARN"]})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        """Sizes that the template does not change stay as the workflow or a policy has set them."""
        parameters = self._parameters(made.ref, new)
        for name in self._sizes:
            if old.get(name) == new.get(name):
                parameters.pop(name, None)
        for name in ("Tags", "TargetGroupARNs"):
            parameters.pop(name, None)
        context.call("autoscaling", "update_auto_scaling_group", AutoScalingGroupName=made.ref, **parameters)
        self._update_targets(context, made.ref, old, new)
        if new.get("Tags"):
            context.call("autoscaling", "create_or_update_tags", Tags=_tags(made.ref, new))
        self._collect_metrics(context, made.ref, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        """Its instances are terminated first."""
        context.call("autoscaling", "delete_auto_scaling_group", AutoScalingGroupName=made.ref, ForceDelete=True)
        deadline = time.monotonic() + _GROUP_GONE_WITHIN
        request = {"AutoScalingGroupNames": [made.ref]}
        while context.call("autoscaling", "describe_auto_scaling_groups", **request)["AutoScalingGroups"]:
            if time.monotonic() > deadline:
                raise ResourceError(f"the instances of {made.ref} were not terminated in {_GROUP_GONE_WITHIN} s")
            time.sleep(0.2)

    def _parameters(self, name: str, properties: Properties) -> dict[str, Any]:
        special = (
            "AutoScalingGroupName",
            "MetricsCollection",
            "NotificationConfigurations",
            "Tags",
            "VPCZoneIdentifier",
        )
        parameters = properties.without(*special)
        parameters["VPCZoneIdentifier"] = ",".join(properties["VPCZoneIdentifier"])
        parameters["Tags"] = _tags(name, properties)
        return parameters

    def _update_targets(self, context: Context, name: str, old: Properties, new: Properties) -> None:
        before, after = set(old.get("TargetGroupARNs", [])), set(new.get("TargetGroupARNs", []))
        for operation, arns in (
            ("attach_load_balancer_target_groups", after - before),
            ("detach_load_balancer_target_groups", before - after),
        ):
            if arns:
                context.call("autoscaling", operation, AutoScalingGroupName=name, TargetGroupARNs=sorted(arns))

    def _collect_metrics(self, context: Context, name: str, properties: Properties) -> None:
        for collection in properties.get("MetricsCollection", []):
            context.call("autoscaling", "enable_metrics_collection", AutoScalingGroupName=name, **collection)


def _tags(group: str, properties: Properties) -> list[dict[str, Any]]:
    return [{**tag, "ResourceId": group, "ResourceType": "auto-scaling-group"} for tag in properties.get("Tags", [])]
