"""Resource types of AWS IAM and AWS KMS.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_IAM.html
"""

from __future__ import annotations

import json
from typing import Any

from local.endpoint.account import arn
from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register


def document(value: Any) -> str:
    """A policy document as the services take it."""
    return value if isinstance(value, str) else json.dumps(value)


@register
class Role(ResourceType):
    name = "AWS::IAM::Role"
    updates = True
    replaced_by = frozenset({"RoleName", "Path", "Tags", "PermissionsBoundary", "MaxSessionDuration"})

    def create(self, context: Context, properties: Properties) -> Made:
        role = context.call(
            "iam",
            "create_role",
            RoleName=properties.get("RoleName") or context.name(64),
            AssumeRolePolicyDocument=document(properties["AssumeRolePolicyDocument"]),
            **properties.only("Description", "Path", "Tags", "PermissionsBoundary", "MaxSessionDuration"),
        )["Role"]
        made = context.begun(Made(role["RoleName"], {"Arn": role["Arn"], "RoleId": role["RoleId"]}))
        self._grant(context, made.ref, Properties({}), properties)
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        trust = document(new["AssumeRolePolicyDocument"])
        context.call("iam", "update_assume_role_policy", RoleName=made.ref, PolicyDocument=trust)
        context.call("iam", "update_role", RoleName=made.ref, Description=new.get("Description", ""))
        self._grant(context, made.ref, old, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._grant(context, made.ref, properties, Properties({}))
        context.call("iam", "delete_role", RoleName=made.ref)

    def _grant(self, context: Context, role: str, old: Properties, new: Properties) -> None:
        """Give the role the policies of `new` instead of those of `old`."""
        before, after = ({entry["PolicyName"] for entry in given.get("Policies", [])} for given in (old, new))
        for name in before - after:
            context.call("iam", "delete_role_policy", RoleName=role, PolicyName=name)
        for entry in new.get("Policies", []):
            text = document(entry["PolicyDocument"])
            context.call("iam", "put_role_policy", RoleName=role, PolicyName=entry["PolicyName"], PolicyDocument=text)
        before, after = (set(given.get("ManagedPolicyArns", [])) for given in (old, new))
        for policy in before - after:
            context.call("iam", "detach_role_policy", RoleName=role, PolicyArn=policy)
        for policy in after - before:
            context.call("iam", "attach_role_policy", RoleName=role, PolicyArn=policy)


@register
class Policy(ResourceType):
    """An inline policy of roles."""

    name = "AWS::IAM::Policy"
    updates = True
    replaced_by = frozenset({"PolicyName"})

    def create(self, context: Context, properties: Properties) -> Made:
        self._put(context, properties)
        return Made(properties["PolicyName"])

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        self._put(context, new)
        for role in set(old["Roles"]) - set(new["Roles"]):
            context.call("iam", "delete_role_policy", RoleName=role, PolicyName=made.ref)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        for role in properties["Roles"]:
            context.call("iam", "delete_role_policy", RoleName=role, PolicyName=made.ref)

    def _put(self, context: Context, properties: Properties) -> None:
        name, text = properties["PolicyName"], document(properties["PolicyDocument"])
        for role in properties["Roles"]:
            context.call("iam", "put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=text)


@register
class ManagedPolicy(ResourceType):
    name = "AWS::IAM::ManagedPolicy"
    updates = True
    replaced_by = frozenset({"ManagedPolicyName", "Path", "Description"})

    def create(self, context: Context, properties: Properties) -> Made:
        policy = context.call(
            "iam",
            "create_policy",
            PolicyName=properties.get("ManagedPolicyName") or context.name(),
            PolicyDocument=document(properties["PolicyDocument"]),
            **properties.only("Description", "Path"),
        )["Policy"]
        made = context.begun(Made(policy["Arn"], {"PolicyArn": policy["Arn"]}))
        for role in properties.get("Roles", []):
            context.call("iam", "attach_role_policy", RoleName=role, PolicyArn=made.ref)
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        if old["PolicyDocument"] != new["PolicyDocument"]:
            self._remove_old_versions(context, made.ref)
            text = document(new["PolicyDocument"])
            context.call("iam", "create_policy_version", PolicyArn=made.ref, PolicyDocument=text, SetAsDefault=True)
        before, after = set(old.get("Roles", [])), set(new.get("Roles", []))
        for role in before - after:
            context.call("iam", "detach_role_policy", RoleName=role, PolicyArn=made.ref)
        for role in after - before:
            context.call("iam", "attach_role_policy", RoleName=role, PolicyArn=made.ref)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        for role in properties.get("Roles", []):
            context.call("iam", "detach_role_policy", RoleName=role, PolicyArn=made.ref)
        self._remove_old_versions(context, made.ref)
        context.call("iam", "delete_policy", PolicyArn=made.ref)

    def _remove_old_versions(self, context: Context, policy: str) -> None:
        """All versions but the default: five is the most that IAM keeps."""
        for version in context.call("iam", "list_policy_versions", PolicyArn=policy)["Versions"]:
            if not version["IsDefaultVersion"]:
                context.call("iam", "delete_policy_version", PolicyArn=policy, VersionId=version["VersionId"])


@register
class InstanceProfile(ResourceType):
    name = "AWS::IAM::InstanceProfile"

    def create(self, context: Context, properties: Properties) -> Made:
        profile = context.call(
            "iam",
            "create_instance_profile",
            InstanceProfileName=properties.get("InstanceProfileName") or context.name(),
            **properties.only("Path"),
        )["InstanceProfile"]
        made = context.begun(Made(profile["InstanceProfileName"], {"Arn": profile["Arn"]}))
        for role in properties["Roles"]:
            context.call("iam", "add_role_to_instance_profile", InstanceProfileName=made.ref, RoleName=role)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        for role in properties["Roles"]:
            context.call("iam", "remove_role_from_instance_profile", InstanceProfileName=made.ref, RoleName=role)
        context.call("iam", "delete_instance_profile", InstanceProfileName=made.ref)


@register
class ServiceLinkedRole(ResourceType):
    name = "AWS::IAM::ServiceLinkedRole"

    def create(self, context: Context, properties: Properties) -> Made:
        parameters = properties.only("AWSServiceName", "CustomSuffix", "Description")
        return Made(context.call("iam", "create_service_linked_role", **parameters)["Role"]["RoleName"])

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("iam", "delete_service_linked_role", RoleName=made.ref)


@register
class Key(ResourceType):
    name = "AWS::KMS::Key"
    updates = True
    replaced_by = frozenset({"KeySpec", "KeyUsage", "MultiRegion", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        key = context.call(
            "kms",
            "create_key",
            Policy=document(properties["KeyPolicy"]) if "KeyPolicy" in properties else None,
            **properties.only("Description", "KeySpec", "KeyUsage"),
        )["KeyMetadata"]
        made = context.begun(Made(key["KeyId"], {"Arn": key["Arn"], "KeyId": key["KeyId"]}))
        properties.get("PendingWindowInDays")  # counts when the key is deleted
        self._rotate(context, made.ref, properties)
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        if "KeyPolicy" in new:
            text = document(new["KeyPolicy"])
            context.call("kms", "put_key_policy", KeyId=made.ref, PolicyName="default", Policy=text)
        context.call("kms", "update_key_description", KeyId=made.ref, Description=new.get("Description", ""))
        self._rotate(context, made.ref, new)
        new.get("PendingWindowInDays")
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        """The key can not be used any more; KMS forgets it when the waiting period is over."""
        days = properties.get("PendingWindowInDays", 30)
        context.call("kms", "schedule_key_deletion", KeyId=made.ref, PendingWindowInDays=days)

    def _rotate(self, context: Context, key: str, properties: Properties) -> None:
        wanted = properties.get("EnableKeyRotation") in (True, "true")
        context.call("kms", "enable_key_rotation" if wanted else "disable_key_rotation", KeyId=key)


@register
class Alias(ResourceType):
    name = "AWS::KMS::Alias"
    updates = True
    replaced_by = frozenset({"AliasName"})

    def create(self, context: Context, properties: Properties) -> Made:
        context.call("kms", "create_alias", **properties.only("AliasName", "TargetKeyId"))
        return Made(properties["AliasName"], {"AliasArn": arn("kms", properties["AliasName"])})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("kms", "update_alias", **new.only("AliasName", "TargetKeyId"))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("kms", "delete_alias", AliasName=made.ref)
