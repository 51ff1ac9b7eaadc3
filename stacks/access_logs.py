"""The bucket of the load balancers' access logs."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct

_DELIVERY = iam.ServicePrincipal("delivery.logs.amazonaws.com")
_KEEP_DAYS = 90


class AccessLogs(Construct):
    """An encrypted bucket that load balancers of this account may write to, over TLS alone.

    Network Load Balancers log the requests of TLS listeners; the stack's own pass TCP through, so the bucket fills only
    once somebody adds one. Who connects is in the audit log of the proxies and in the flow logs.

    What reaches the bucket is logged in the bucket itself, under a prefix of its own: a second bucket for that would
    ask for a third. Nothing lives longer than 90 days, which also bounds what the records about records take.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            # With keys of its own, Amazon S3 would not deliver the bucket's own log.
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            server_access_logs_prefix="bucket/",
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=cdk.Duration.days(_KEEP_DAYS),
                    noncurrent_version_expiration=cdk.Duration.days(1),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
                )
            ],
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        self._permit_delivery()

    @property
    def permission(self) -> IConstruct:
        """What a load balancer must wait for before it writes."""
        if self.bucket.policy is None:
            raise RuntimeError("the access-log bucket has no policy")
        return self.bucket.policy

    def balancer_attributes(self, prefix: str) -> dict[str, str]:
        """Attributes with which a load balancer writes below `prefix`."""
        return {
            "access_logs.s3.enabled": "true",
            "access_logs.s3.bucket": self.bucket.bucket_name,
            "access_logs.s3.prefix": prefix,
        }

    def _permit_delivery(self) -> None:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-access-logs.html"""
        stack = cdk.Stack.of(self)
        conditions = {
            "StringEquals": {"aws:SourceAccount": stack.account},
            "ArnLike": {"aws:SourceArn": stack.format_arn(service="logs", resource="*")},
        }
        self.bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="DeliveryWrites",
                principals=[_DELIVERY],
                actions=["s3:PutObject"],
                resources=[self.bucket.arn_for_objects(f"*/AWSLogs/{stack.account}/*")],
                conditions=conditions,
            )
        )
        self.bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="DeliveryLooks",
                principals=[_DELIVERY],
                actions=["s3:GetBucketAcl"],
                resources=[self.bucket.bucket_arn],
                conditions=conditions,
            )
        )
