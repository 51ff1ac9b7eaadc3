"""What the deployment workflow's state machine may do."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.encryption import Encryption
from stacks.exceptions import accept_finding


def workflow_role(
    scope: Construct, *, functions: Sequence[lambda_.Function], failures: sns.Topic, encryption: Encryption
) -> iam.Role:
    """A role to call these functions, to publish failures, and to log and trace."""
    region = cdk.Stack.of(scope).region
    statements = [
        iam.PolicyStatement(
            actions=["lambda:InvokeFunction"], resources=[function.function_arn for function in functions]
        ),
        iam.PolicyStatement(actions=["sns:Publish"], resources=[failures.topic_arn]),
        iam.PolicyStatement(
            actions=["kms:Decrypt", "kms:GenerateDataKey"],
            resources=[encryption.key.key_arn],
            conditions={"StringEquals": {"kms:ViaService": f"sns.{region}.amazonaws.com"}},
        ),
    ]
    return iam.Role(
        scope,
        "Role",
        description="Secure Proxy: the deployment workflow",
        assumed_by=iam.ServicePrincipal("states.amazonaws.com"),
        managed_policies=[_telemetry_policy(scope)],
        inline_policies={"Tasks": iam.PolicyDocument(statements=statements)},
    )


def _telemetry_policy(scope: Construct) -> iam.ManagedPolicy:
    """https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html#cloudwatch-iam-policy"""
    policy = iam.ManagedPolicy(
        scope,
        "Telemetry",
        description="Secure Proxy: logs and traces of the deployment workflow",
        statements=[
            iam.PolicyStatement(
                actions=[
                    "logs:CreateLogDelivery",
                    "logs:DeleteLogDelivery",
                    "logs:DescribeLogGroups",
                    "logs:DescribeResourcePolicies",
                    "logs:GetLogDelivery",
                    "logs:ListLogDeliveries",
                    "logs:PutResourcePolicy",
                    "logs:UpdateLogDelivery",
                    "xray:GetSamplingRules",
                    "xray:GetSamplingTargets",
                    "xray:PutTelemetryRecords",
                    "xray:PutTraceSegments",
                ],
                resources=["*"],
            )
        ],
    )
    accept_finding(
        policy,
        rule="AwsSolutions-IAM5[Resource::*]",
        reason="Log deliveries and traces know no resources; AWS documents these calls with all resources.",
    )
    return policy
