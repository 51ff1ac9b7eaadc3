"""Resource types of Elastic Load Balancing, EC2 Auto Scaling, AWS Lambda and AWS Step Functions.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_ElasticLoadBalancingV2.html
"""

from __future__ import annotations

import json
import time
from typing import Any

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceError, ResourceType, register

_GROUP_GONE_WITHIN = 120  # seconds


@register
class LoadBalancer(ResourceType):
    name = "AWS::ElasticLoadBalancingV2::LoadBalancer"
    updates = True
    replaced_by = frozenset({"Name", "Scheme", "Type", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        found = context.call(
            "elbv2",
            "create_load_balancer",
            Name=properties.get("Name") or context.name(32),
            **properties.only("Scheme", "SecurityGroups", "Subnets", "Type", "IpAddressType", "Tags"),
        )["LoadBalancers"][0]
        arn = found["LoadBalancerArn"]
        self._set_attributes(context, arn, properties)
        return Made(
            arn,
            {
                "CanonicalHostedZoneID": found["CanonicalHostedZoneId"],
                "DNSName": found["DNSName"],
                "LoadBalancerArn": arn,
                "LoadBalancerFullName": arn.partition(":loadbalancer/")[2],
                "LoadBalancerName": found["LoadBalancerName"],
            },
        )

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        for operation, name in (("set_security_groups", "SecurityGroups"), ("set_subnets", "Subnets")):
            if old.get(name) != new.get(name):
                context.call("elbv2", operation, LoadBalancerArn=made.ref, **{name: new[name]})
        self._set_attributes(context, made.ref, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("elbv2", "delete_load_balancer", LoadBalancerArn=made.ref)

    def _set_attributes(self, context: Context, arn: str, properties: Properties) -> None:
        if properties.get("LoadBalancerAttributes"):
            attributes = properties["LoadBalancerAttributes"]
            context.call("elbv2", "modify_load_balancer_attributes", LoadBalancerArn=arn, Attributes=attributes)


@register
class TargetGroup(ResourceType):
    name = "AWS::ElasticLoadBalancingV2::TargetGroup"
    updates = True
    replaced_by = frozenset({"Name", "Port", "Protocol", "TargetType", "VpcId", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        parameters = {"Name": context.name(32), **properties.without("TargetGroupAttributes")}
        arn = context.call("elbv2", "create_target_group", **parameters)["TargetGroups"][0]["TargetGroupArn"]
        self._set_attributes(context, arn, properties)
        full_name = f"targetgroup/{arn.partition(':targetgroup/')[2]}"
        return Made(arn, {"TargetGroupArn": arn, "TargetGroupFullName": full_name})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        health_check = {
            name: value for name, value in new.all().items() if name.startswith("Health") or "Thresh" in name
        }
        context.call("elbv2", "modify_target_group", TargetGroupArn=made.ref, **health_check, **new.only("Matcher"))
        self._set_attributes(context, made.ref, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("elbv2", "delete_target_group", TargetGroupArn=made.ref)

    def _set_attributes(self, context: Context, arn: str, properties: Properties) -> None:
        if properties.get("TargetGroupAttributes"):
            attributes = properties["TargetGroupAttributes"]
            context.call("elbv2", "modify_target_group_attributes", TargetGroupArn=arn, Attributes=attributes)


@register
class Listener(ResourceType):
    name = "AWS::ElasticLoadBalancingV2::Listener"
    updates = True
    replaced_by = frozenset({"LoadBalancerArn"})

    def create(self, context: Context, properties: Properties) -> Made:
        arn = context.call("elbv2", "create_listener", **properties.all())["Listeners"][0]["ListenerArn"]
        return Made(arn, {"ListenerArn": arn})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("elbv2", "modify_listener", ListenerArn=made.ref, **new.without("LoadBalancerArn"))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("elbv2", "delete_listener", ListenerArn=made.ref)


@register
class AutoScalingGroup(ResourceType):
    name = "AWS::AutoScaling::AutoScalingGroup"
    updates = True
    replaced_by = frozenset({"AutoScalingGroupName", "ServiceLinkedRoleARN"})
    _sizes = ("MinSize", "MaxSize", "DesiredCapacity")

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("AutoScalingGroupName") or context.name(255)
        parameters = self._parameters(name, properties)
        context.call("autoscaling", "create_auto_scaling_group", AutoScalingGroupName=name, **parameters)
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


@register
class Function(ResourceType):
    name = "AWS::Lambda::Function"
    updates = True
    replaced_by = frozenset({"FunctionName", "PackageType", "Architectures", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("FunctionName") or context.name(64)
        parameters = {**properties.without("ReservedConcurrentExecutions"), "FunctionName": name}
        found = context.call("lambda", "create_function", **parameters)
        self._reserve(context, name, properties)
        return Made(name, {"Arn": found["FunctionArn"]})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        if old["Code"] != new["Code"]:
            context.call("lambda", "update_function_code", FunctionName=made.ref, **new["Code"])
        configuration = new.without("Code", "FunctionName", "Architectures", "ReservedConcurrentExecutions", "Tags")
        context.call("lambda", "update_function_configuration", FunctionName=made.ref, **configuration)
        self._reserve(context, made.ref, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("lambda", "delete_function", FunctionName=made.ref)

    def _reserve(self, context: Context, name: str, properties: Properties) -> None:
        reserved = properties.get("ReservedConcurrentExecutions")
        if reserved is None:
            context.call("lambda", "delete_function_concurrency", FunctionName=name)
        else:
            context.call("lambda", "put_function_concurrency", FunctionName=name, ReservedConcurrentExecutions=reserved)


@register
class StateMachine(ResourceType):
    name = "AWS::StepFunctions::StateMachine"
    updates = True
    replaced_by = frozenset({"StateMachineName", "StateMachineType", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("StateMachineName") or context.name(80)
        arn = context.call("stepfunctions", "create_state_machine", Name=name, **_definition(properties))[
            "stateMachineArn"
        ]
        return Made(arn, {"Arn": arn, "Name": name})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("stepfunctions", "update_state_machine", StateMachineArn=made.ref, **_definition(new))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("stepfunctions", "delete_state_machine", StateMachineArn=made.ref)


def _definition(properties: Properties) -> dict[str, Any]:
    parameters = properties.without("StateMachineName", "DefinitionString", "Definition")
    text = properties.get("DefinitionString") or json.dumps(properties.get("Definition"))
    return {**parameters, "Definition": text}
