"""Lambda functions: the handlers of `lambdas/`, each with a role of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.conditions import in_this_region
from stacks.encryption import Encryption
from stacks.exceptions import accept_finding
from stacks.log_groups import log_group
from stacks.network import Network

# Longer than the attempts of one call to AWS; a handler makes a few.
TIMEOUT = cdk.Duration.minutes(2)

_ROOT = Path(__file__).resolve().parent.parent
_MEMORY_MIB = 256


class Functions(Construct):
    """Makes functions that run in the private subnets and share code, log group and dead-letter queue."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        network: Network,
        encryption: Encryption,
        dead_letters: sqs.Queue,
        reserved_concurrency: cdk.CfnCondition,
    ) -> None:
        super().__init__(scope, construct_id)
        self._network = network
        self._reserved_concurrency = reserved_concurrency
        self._log_group = log_group(self, "LogGroup", key=encryption.key)
        self._dead_letters = dead_letters
        self._code = lambda_.Code.from_asset(
            str(_ROOT),
            # Only the package itself, without what running it leaves behind.
            exclude=["/*", "!/lambdas", "__pycache__", "*.pyc"],
            ignore_mode=cdk.IgnoreMode.GIT,
        )
        self._runtime_policy = self._permit_running(encryption)

    def function(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: str,
        description: str,
        statements: Sequence[iam.PolicyStatement],
        policies: Sequence[iam.IManagedPolicy] = (),
        accepted: Mapping[str, str] = MappingProxyType({}),
    ) -> lambda_.Function:
        """The function of `lambdas/<handler>.py`, which may do what `statements` and `policies` say besides running.

        `accepted` gives the reason for each rule that the role is excused from.
        """
        role = iam.Role(
            scope,
            f"{construct_id}Role",
            description=f"Secure Proxy: {description}",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            managed_policies=[self._runtime_policy, *policies],
            inline_policies={"Task": iam.PolicyDocument(statements=list(statements))},
        )
        for rule, reason in accepted.items():
            accept_finding(role, rule=rule, reason=reason)
        function = lambda_.Function(
            scope,
            construct_id,
            description=description,
            code=self._code,
            handler=f"lambdas.{handler}.handler",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            memory_size=_MEMORY_MIB,
            timeout=TIMEOUT,
            role=role.without_policy_updates(),
            vpc=self._network.vpc,
            vpc_subnets=self._network.private_subnets,
            security_groups=[self._network.function_group],
            log_group=self._log_group,
            dead_letter_queue=self._dead_letters,
        )
        self._refine(function)
        return function

    def _refine(self, function: lambda_.Function) -> None:
        resource = function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)  # noqa: S101 - what the CDK makes of a function
        # One at a time: executions follow each other. Accounts with a small quota have nothing to reserve from.
        resource.add_property_override(
            "ReservedConcurrentExecutions",
            {"Fn::If": [self._reserved_concurrency.logical_id, 1, {"Ref": "AWS::NoValue"}]},
        )
        # The role with all its policies is named in the properties, which is dependency enough.
        resource.add_deletion_override("DependsOn")

    def _permit_running(self, encryption: Encryption) -> iam.ManagedPolicy:
        policy = iam.ManagedPolicy(
            self,
            "Running",
            description="Secure Proxy: what every function needs to run",
            statements=[
                iam.PolicyStatement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[self._log_group.log_group_arn]
                ),
                iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self._dead_letters.queue_arn]),
                iam.PolicyStatement(
                    actions=["kms:Decrypt", "kms:GenerateDataKey"],
                    resources=[encryption.key.key_arn],
                    conditions={"StringEquals": {"kms:ViaService": f"sqs.{cdk.Stack.of(self).region}.amazonaws.com"}},
                ),
                # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
                iam.PolicyStatement(
                    actions=[
                        "ec2:AssignPrivateIpAddresses",
                        "ec2:CreateNetworkInterface",
                        "ec2:DeleteNetworkInterface",
                        "ec2:DescribeNetworkInterfaces",
                        "ec2:DescribeSubnets",
                        "ec2:UnassignPrivateIpAddresses",
                    ],
                    resources=["*"],
                    conditions=in_this_region(self),
                ),
            ],
        )
        accept_finding(
            policy,
            rule="AwsSolutions-IAM5[Resource::*]",
            reason="AWS Lambda attaches functions to the VPC with these calls, on interfaces not yet named.",
        )
        return policy
