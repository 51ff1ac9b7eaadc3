"""One key for what rests: volumes, images, logs, topics and queues."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct, IDependable

from stacks.names import STACK

_USE = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")
# Services that write to topics and queues for us.
_PUBLISHERS = ("cloudwatch.amazonaws.com", "events.amazonaws.com")


class Encryption(Construct):
    """The key, and the role with which EC2 Auto Scaling may start instances from encrypted images.

    The role is a service-linked one of our own, because the account's common one may not exist yet, and a key policy
    cannot name what does not exist.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        stack = cdk.Stack.of(self)
        # IAM knows no regions, and the stack may stand in several. With its prefix, the name has at most 64 characters.
        suffix = f"SecureProxy_{stack.region}"
        self.auto_scaling_role = iam.CfnServiceLinkedRole(
            self,
            "AutoScalingRole",
            aws_service_name="autoscaling.amazonaws.com",
            custom_suffix=suffix,
            description="Starts the Auto Scaling groups of Secure Proxy from encrypted images",
        )
        self.auto_scaling_role_arn = stack.format_arn(
            service="iam",
            region="",
            resource="role",
            resource_name=f"aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling_{suffix}",
        )
        self.key = kms.Key(
            self,
            "Key",
            alias=f"alias/{STACK}",
            description="Secure Proxy: volumes, images, logs, topics and queues",
            enable_key_rotation=True,
            pending_window=cdk.Duration.days(7),
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        self.key.node.add_dependency(self.auto_scaling_role)
        self._permit_auto_scaling()
        self._permit_services(stack)

    def make_after(self, others: Sequence[IDependable]) -> None:
        """Make the key after `others`, which are to take a minute or more.

        A role that IAM has made is not known everywhere yet, and AWS KMS refuses a policy with a principal that it does
        not know. https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
        """
        self.key.node.add_dependency(*others)

    def _permit_auto_scaling(self) -> None:
        role = iam.ArnPrincipal(self.auto_scaling_role_arn)
        self.key.add_to_resource_policy(
            iam.PolicyStatement(sid="AutoScalingUses", principals=[role], actions=list(_USE), resources=["*"])
        )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AutoScalingLendsToVolumes",
                principals=[role],
                actions=["kms:CreateGrant"],
                resources=["*"],
                conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
            )
        )

    def _permit_services(self, stack: cdk.Stack) -> None:
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogGroupsOfThisAccount",
                principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
                actions=list(_USE),
                resources=["*"],
                conditions={
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": stack.format_arn(
                            service="logs",
                            resource="log-group",
                            resource_name="*",
                            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                        )
                    }
                },
            )
        )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="PublishersOfThisAccount",
                principals=[iam.ServicePrincipal(service) for service in _PUBLISHERS],
                actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                resources=["*"],
                conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
            )
        )
