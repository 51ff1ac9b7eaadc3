"""Resource types of Amazon EC2: security groups and their rules.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_EC2.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register
from local.endpoint.cloudformation.resources_network import tag_specifications


@register
class SecurityGroup(ResourceType):
    name = "AWS::EC2::SecurityGroup"

    def create(self, context: Context, properties: Properties) -> Made:
        identity = context.call(
            "ec2",
            "create_security_group",
            GroupName=properties.get("GroupName") or context.name(255),
            Description=properties["GroupDescription"],
            VpcId=properties["VpcId"],
            TagSpecifications=tag_specifications("security-group", properties),
        )["GroupId"]
        made = context.begun(Made(identity, {"GroupId": identity, "VpcId": properties["VpcId"]}))
        if "SecurityGroupEgress" in properties:
            everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
            context.call("ec2", "revoke_security_group_egress", GroupId=identity, IpPermissions=[everything])
            for rule in properties["SecurityGroupEgress"]:
                _authorize(context, "egress", identity, rule)
        for rule in properties.get("SecurityGroupIngress", []):
            _authorize(context, "ingress", identity, rule)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "delete_security_group", GroupId=made.ref)


class _Rule(ResourceType):
    """A rule of a security group that stands on its own."""

    direction: str

    def create(self, context: Context, properties: Properties) -> Made:
        rule = properties.without("GroupId")
        answer = _authorize(context, self.direction, properties["GroupId"], rule)
        return Made(answer["SecurityGroupRules"][0]["SecurityGroupRuleId"])

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        operation = f"revoke_security_group_{self.direction}"
        permission = _permission(properties.without("GroupId"))
        context.call("ec2", operation, GroupId=properties["GroupId"], IpPermissions=[permission])


@register
class Ingress(_Rule):
    name = "AWS::EC2::SecurityGroupIngress"
    direction = "ingress"


@register
class Egress(_Rule):
    name = "AWS::EC2::SecurityGroupEgress"
    direction = "egress"


def _authorize(context: Context, direction: str, group: str, rule: Mapping[str, Any]) -> Any:
    operation = f"authorize_security_group_{direction}"
    return context.call("ec2", operation, GroupId=group, IpPermissions=[_permission(rule)])


# Who is at the other end of a rule: the property, and where an EC2 permission has it.
_PEERS = {
    "CidrIp": ("IpRanges", "CidrIp"),
    "CidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
    "SourcePrefixListId": ("PrefixListIds", "PrefixListId"),
    "DestinationPrefixListId": ("PrefixListIds", "PrefixListId"),
    "SourceSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
    "DestinationSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
}


def _permission(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as EC2's API takes it; a property that is none of a rule passes, for boto3 to refuse."""
    permission = {name: value for name, value in rule.items() if name not in _PEERS and name != "Description"}
    for name, (container, key) in _PEERS.items():
        if name in rule:
            description = {"Description": rule["Description"]} if "Description" in rule else {}
            permission[container] = [{key: rule[name], **description}]
    return permission
