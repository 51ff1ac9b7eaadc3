"""Resource types of Amazon EC2: networks, security groups, launch templates.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_EC2.html
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register


def tag_specifications(resource_type: str, properties: Properties) -> list[dict[str, Any]] | None:
    """The tags of a resource as EC2's create operations take them."""
    tags = properties.get("Tags")
    return [{"ResourceType": resource_type, "Tags": tags}] if tags else None


class _Ec2(ResourceType):
    """A resource that one call makes and one call deletes. Properties are the parameters of the first."""

    create_operation: str
    delete_operation: str
    answer: str  # where in the answer the resource is
    identifier: str  # its id there, and the parameter of the deletion
    tagged: str | None = None  # EC2's name of the type, if it has tags
    attributes: Mapping[str, str] = MappingProxyType({})  # Fn::GetAtt's names and the answer's

    def create(self, context: Context, properties: Properties) -> Made:
        tags = tag_specifications(self.tagged, properties) if self.tagged else None
        parameters = properties.without("Tags") if self.tagged else properties.all()
        answer = context.call("ec2", self.create_operation, **parameters, TagSpecifications=tags)
        return context.begun(self.made(answer[self.answer]))

    def made(self, found: Mapping[str, Any]) -> Made:
        """The resource that the service describes."""
        attributes = {name: found.get(key, "") for name, key in self.attributes.items()}
        return Made(found[self.identifier], {self.identifier: found[self.identifier], **attributes})

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", self.delete_operation, **{self.identifier: made.attributes[self.identifier]})


@register
class Vpc(_Ec2):
    name = "AWS::EC2::VPC"
    create_operation, delete_operation = "create_vpc", "delete_vpc"
    answer, identifier, tagged = "Vpc", "VpcId", "vpc"
    attributes = MappingProxyType({"CidrBlock": "CidrBlock"})

    def create(self, context: Context, properties: Properties) -> Made:
        switches = properties.only("EnableDnsHostnames", "EnableDnsSupport")
        made = super().create(context, Properties({k: v for k, v in properties.all().items() if k not in switches}))
        for name, value in switches.items():
            context.call("ec2", "modify_vpc_attribute", VpcId=made.ref, **{name: {"Value": value}})
        return made


@register
class Subnet(_Ec2):
    name = "AWS::EC2::Subnet"
    create_operation, delete_operation = "create_subnet", "delete_subnet"
    answer, identifier, tagged = "Subnet", "SubnetId", "subnet"
    attributes = MappingProxyType({"AvailabilityZone": "AvailabilityZone", "CidrBlock": "CidrBlock"})

    def create(self, context: Context, properties: Properties) -> Made:
        public = properties.get("MapPublicIpOnLaunch")
        made = super().create(context, Properties(properties.without("MapPublicIpOnLaunch")))
        if public is not None:
            context.call("ec2", "modify_subnet_attribute", SubnetId=made.ref, MapPublicIpOnLaunch={"Value": public})
        return made


@register
class InternetGateway(_Ec2):
    name = "AWS::EC2::InternetGateway"
    create_operation, delete_operation = "create_internet_gateway", "delete_internet_gateway"
    answer, identifier, tagged = "InternetGateway", "InternetGatewayId", "internet-gateway"


@register
class GatewayAttachment(ResourceType):
    name = "AWS::EC2::VPCGatewayAttachment"

    def create(self, context: Context, properties: Properties) -> Made:
        context.call("ec2", "attach_internet_gateway", **properties.only("InternetGatewayId", "VpcId"))
        return Made(f"IGW|{properties['VpcId']}")

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "detach_internet_gateway", **properties.only("InternetGatewayId", "VpcId"))


@register
class RouteTable(_Ec2):
    name = "AWS::EC2::RouteTable"
    create_operation, delete_operation = "create_route_table", "delete_route_table"
    answer, identifier, tagged = "RouteTable", "RouteTableId", "route-table"


@register
class RouteTableAssociation(ResourceType):
    name = "AWS::EC2::SubnetRouteTableAssociation"

    def create(self, context: Context, properties: Properties) -> Made:
        answer = context.call("ec2", "associate_route_table", **properties.only("RouteTableId", "SubnetId"))
        return Made(answer["AssociationId"])

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "disassociate_route_table", AssociationId=made.ref)


@register
class Route(ResourceType):
    name = "AWS::EC2::Route"

    def create(self, context: Context, properties: Properties) -> Made:
        context.call("ec2", "create_route", **properties.all())
        return Made(f"{properties['RouteTableId']}|{properties['DestinationCidrBlock']}")

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "delete_route", **properties.only("RouteTableId", "DestinationCidrBlock"))


@register
class Address(ResourceType):
    name = "AWS::EC2::EIP"

    def create(self, context: Context, properties: Properties) -> Made:
        tags = tag_specifications("elastic-ip", properties)
        answer = context.call("ec2", "allocate_address", **properties.only("Domain"), TagSpecifications=tags)
        attributes = {"AllocationId": answer["AllocationId"], "PublicIp": answer["PublicIp"]}
        return Made(answer["PublicIp"], attributes)

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "release_address", AllocationId=made.attributes["AllocationId"])


@register
class NatGateway(_Ec2):
    name = "AWS::EC2::NatGateway"
    create_operation, delete_operation = "create_nat_gateway", "delete_nat_gateway"
    answer, identifier, tagged = "NatGateway", "NatGatewayId", "natgateway"


@register
class FlowLog(ResourceType):
    name = "AWS::EC2::FlowLog"

    def create(self, context: Context, properties: Properties) -> Made:
        answer = context.call(
            "ec2",
            "create_flow_logs",
            ResourceIds=[properties["ResourceId"]],
            TagSpecifications=tag_specifications("vpc-flow-log", properties),
            **properties.without("ResourceId", "Tags"),
        )
        return Made(answer["FlowLogIds"][0])

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "delete_flow_logs", FlowLogIds=[made.ref])


@register
class VpcEndpoint(_Ec2):
    name = "AWS::EC2::VPCEndpoint"
    create_operation = "create_vpc_endpoint"
    answer, identifier, tagged = "VpcEndpoint", "VpcEndpointId", "vpc-endpoint"

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ec2", "delete_vpc_endpoints", VpcEndpointIds=[made.ref])


@register
class PrefixList(_Ec2):
    name = "AWS::EC2::PrefixList"
    create_operation, delete_operation = "create_managed_prefix_list", "delete_managed_prefix_list"
    answer, identifier, tagged = "PrefixList", "PrefixListId", "prefix-list"
    updates = True
    replaced_by = frozenset({"AddressFamily", "PrefixListName", "MaxEntries", "Tags"})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        found = context.call("ec2", "describe_managed_prefix_lists", PrefixListIds=[made.ref])["PrefixLists"][0]
        entries = context.call("ec2", "get_managed_prefix_list_entries", PrefixListId=made.ref)["Entries"]
        before, after = ({entry["Cidr"]: entry for entry in some} for some in (entries, new.get("Entries", [])))
        context.call(
            "ec2",
            "modify_managed_prefix_list",
            PrefixListId=made.ref,
            CurrentVersion=found["Version"],
            AddEntries=[entry for cidr, entry in after.items() if before.get(cidr) != entry],
            RemoveEntries=[{"Cidr": cidr} for cidr in before if cidr not in after],
        )
        return made
