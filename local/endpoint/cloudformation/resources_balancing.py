"""Resource types of Elastic Load Balancing.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_ElasticLoadBalancingV2.html
"""

from __future__ import annotations

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register


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
        made = Made(
            arn,
            {
                "CanonicalHostedZoneID": found["CanonicalHostedZoneId"],
                "DNSName": found["DNSName"],
                "LoadBalancerArn": arn,
                "LoadBalancerFullName": arn.partition(":loadbalancer/")[2],
                "LoadBalancerName": found["LoadBalancerName"],
            },
        )
        self._set_attributes(context, context.begun(made).ref, properties)
        return made

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
        full_name = f"targetgroup/{arn.partition(':targetgroup/')[2]}"
        made = Made(arn, {"TargetGroupArn": arn, "TargetGroupFullName": full_name})
        self._set_attributes(context, context.begun(made).ref, properties)
        return made

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
