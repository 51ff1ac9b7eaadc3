"""What instances of the fleets may do."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.conditions import in_this_region
from stacks.exceptions import accept_finding
from stacks.names import METRICS_NAMESPACE


class MachineAccess(Construct):
    """Session Manager instead of SSH, and metrics: what every instance of the fleets may do."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self._policy = iam.ManagedPolicy(
            self,
            "Management",
            description="Secure Proxy: Session Manager and metrics",
            statements=[
                iam.PolicyStatement(
                    actions=[
                        "ssm:UpdateInstanceInformation",
                        "ssmmessages:CreateControlChannel",
                        "ssmmessages:CreateDataChannel",
                        "ssmmessages:OpenControlChannel",
                        "ssmmessages:OpenDataChannel",
                    ],
                    resources=["*"],
                    conditions=in_this_region(self),
                ),
                iam.PolicyStatement(
                    actions=["cloudwatch:PutMetricData"],
                    resources=["*"],
                    conditions={"StringEquals": {"cloudwatch:namespace": METRICS_NAMESPACE}},
                ),
            ],
        )
        accept_finding(
            self._policy,
            rule="AwsSolutions-IAM5[Resource::*]",
            reason="Session channels and metrics name no resource; metrics are limited to one namespace instead.",
        )

    def role(self, scope: Construct, construct_id: str, description: str) -> iam.Role:
        """A role for instances, to which its owner adds what else they need."""
        return iam.Role(
            scope,
            construct_id,
            description=description,
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=[self._policy],
        )
