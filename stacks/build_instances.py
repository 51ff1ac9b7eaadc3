"""The instances that build and test images: what they may do, where they run."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_imagebuilder as imagebuilder
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from stacks.conditions import in_this_region
from stacks.exceptions import accept_finding
from stacks.network import Network
from stacks.settings import ProjectSettings

_MANAGED_BUCKETS = "ec2imagebuilder*"
_LIFECYCLE_POLICY = "service-role/EC2ImageBuilderLifecycleExecutionPolicy"


class BuildInstances(Construct):
    """One instance profile for both pipelines, and the role with which Image Builder deletes old images."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: ProjectSettings, network: Network) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._network = network
        self._role = iam.Role(
            self,
            "Role",
            description="Instances that build and test images of Secure Proxy",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
        )
        self._profile = iam.CfnInstanceProfile(self, "Profile", roles=[self._role.role_name])
        self._permit_building()
        self.lifecycle_role = self._lifecycle_role()

    def permit_logging(self, group: logs.ILogGroup) -> None:
        """Lets the instances write what they do."""
        group.grant_write(self._role)

    def permit_download(self, asset: s3_assets.Asset) -> None:
        """Lets the instances read this one object."""
        self._role.add_to_policy(
            iam.PolicyStatement(actions=["s3:GetObject"], resources=[asset.bucket.arn_for_objects(asset.s3_object_key)])
        )

    def infrastructure(
        self, scope: Construct, name: str, tags: Mapping[str, str]
    ) -> imagebuilder.CfnInfrastructureConfiguration:
        """Where the pipeline `name` builds: a private subnet, no way in, metadata with a session token alone."""
        subnets = self._network.vpc.select_subnets(subnet_type=self._network.private_subnets.subnet_type)
        infrastructure = imagebuilder.CfnInfrastructureConfiguration(
            scope,
            "Infrastructure",
            name=name,
            instance_profile_name=self._profile.ref,
            instance_types=list(self._settings.imagebuilder.instance_types),
            subnet_id=subnets.subnet_ids[0],
            security_group_ids=[self._network.build_group.security_group_id],
            terminate_instance_on_failure=True,
            instance_metadata_options=imagebuilder.CfnInfrastructureConfiguration.InstanceMetadataOptionsProperty(
                http_tokens="required", http_put_response_hop_limit=1
            ),
            resource_tags=dict(tags),
            tags=dict(tags),
        )
        # A build needs the ways out of its subnet.
        infrastructure.node.add_dependency(subnets.internet_connectivity_established)
        return infrastructure

    def _permit_building(self) -> None:
        """What AWS's AmazonSSMManagedInstanceCore and EC2InstanceProfileForImageBuilder permit, as far as needed.

        Image Builder sends its orders through Systems Manager.
        """
        policy = iam.ManagedPolicy(
            self,
            "Building",
            description="Secure Proxy: taking orders from Image Builder",
            roles=[self._role],
            statements=[
                iam.PolicyStatement(
                    actions=[
                        "ec2messages:AcknowledgeMessage",
                        "ec2messages:DeleteMessage",
                        "ec2messages:FailMessage",
                        "ec2messages:GetEndpoint",
                        "ec2messages:GetMessages",
                        "ec2messages:SendReply",
                        "imagebuilder:GetComponent",
                        "ssm:DescribeAssociation",
                        "ssm:DescribeDocument",
                        "ssm:GetDocument",
                        "ssm:GetManifest",
                        "ssm:ListAssociations",
                        "ssm:ListInstanceAssociations",
                        "ssm:PutComplianceItems",
                        "ssm:PutConfigurePackageResult",
                        "ssm:PutInventory",
                        "ssm:UpdateAssociationStatus",
                        "ssm:UpdateInstanceAssociationStatus",
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
                    actions=["s3:GetObject"],
                    resources=[f"arn:{cdk.Aws.PARTITION}:s3:::{_MANAGED_BUCKETS}"],
                ),
            ],
        )
        accept_finding(
            policy,
            rule=f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::{_MANAGED_BUCKETS}]",
            reason="AWS keeps what its own components need in public buckets of this name, one a region.",
        )
        accept_finding(
            policy,
            rule="AwsSolutions-IAM5[Resource::*]",
            reason="Calls to Systems Manager and Image Builder name no resource here; an instance acts for itself.",
        )

    def _lifecycle_role(self) -> iam.Role:
        role = iam.Role(
            self,
            "LifecycleRole",
            description="Image Builder deletes old images of Secure Proxy",
            assumed_by=iam.ServicePrincipal("imagebuilder.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(_LIFECYCLE_POLICY)],
        )
        accept_finding(
            role,
            rule=f"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{_LIFECYCLE_POLICY}]",
            reason="AWS writes this policy for lifecycle policies; it limits deletion to what Image Builder created.",
        )
        return role
