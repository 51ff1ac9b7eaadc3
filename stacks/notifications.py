"""Whom the stack tells what: failures go to the e-mail address, scaling events to whoever subscribes."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct


class Notifications(Construct):
    """Two encrypted topics that take messages over TLS alone."""

    def __init__(self, scope: Construct, construct_id: str, *, key: kms.IKey, email: str | None) -> None:
        super().__init__(scope, construct_id)
        self.failures = self._topic("Failures", "Secure Proxy failures", key)
        self.scaling_events = self._topic("ScalingEvents", "Secure Proxy scaling events", key)
        if email is not None:
            self.failures.add_subscription(subscriptions.EmailSubscription(email))
        # Alarms publish as a service, which needs the topic's leave.
        self.failures.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.failures.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            )
        )

    def _topic(self, name: str, display_name: str, key: kms.IKey) -> sns.Topic:
        return sns.Topic(self, name, display_name=display_name, master_key=key, enforce_ssl=True)
