"""What nobody waits for and somebody must see: functions that failed unattended, and image builds that failed."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.encryption import Encryption
from stacks.names import SECURE_PROXY_IMAGE


class Attention(Construct):
    """An encrypted queue that an alarm watches. It is the functions' dead-letter queue, too.

    Image builds report their failures here: the scheduled ones, of which nobody else tells, and a deployment's.
    """

    def __init__(self, scope: Construct, construct_id: str, *, encryption: Encryption) -> None:
        super().__init__(scope, construct_id)
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=encryption.key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
        )
        self._collect_failed_builds()

    def _collect_failed_builds(self) -> None:
        """https://docs.aws.amazon.com/imagebuilder/latest/userguide/integ-eventbridge.html"""
        stack = cdk.Stack.of(self)
        images = stack.format_arn(service="imagebuilder", resource="image", resource_name=SECURE_PROXY_IMAGE)
        rule = events.CfnRule(
            self,
            "FailedImageBuilds",
            description="Image builds of Secure Proxy that failed",
            event_pattern={
                "source": ["aws.imagebuilder"],
                "detail-type": ["EC2 Image Builder Image State Change"],
                "resources": [{"prefix": images}],
                "detail": {"state": {"status": ["FAILED"]}},
            },
            targets=[events.CfnRule.TargetProperty(id="Attention", arn=self.queue.queue_arn)],
        )
        self.queue.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[self.queue.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": rule.attr_arn}},
            )
        )
