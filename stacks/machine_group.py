"""An Auto Scaling group whose instances start from a published image. It starts empty; the workflow fills it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import aws_cdk as cdk
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.base_image import BaseImage
from stacks.encryption import Encryption
from stacks.notifications import Notifications

HealthCheckType = Literal["EC2", "ELB"]

# An instance boots in one or two minutes, and an NLB may take three to send it the first connection.
_GRACE_SECONDS = 300
# A new instance counts from then on; where its load balancers are not asked, it should serve by then.
_WARMUP_SECONDS = 120
# The size is the workflow's to set. Numbers that follow the settings would be sent with every change of these, and be
# refused where they contradict what the workflow has set before: MaxSize 1 below a MinSize of 2.
_MIN_SIZE = 0
_MAX_SIZE = 100
# The lifecycle policy of images keeps what was launched in the last six weeks: what runs must be launched more often.
_LIFETIME_DAYS = 30


class MachineGroup(Construct):
    """A launch template that asks Parameter Store for its image; a group that starts an instance before it ends one.

    `role` is what the instances may do; `environment` is their user data. `health_check_type` says whom EC2 Auto
    Scaling believes between deployments that an instance is to be replaced: EC2 alone, or the load balancers too.
    While the workflow replaces instances, it is always both.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
        role: iam.IRole,
        image_parameter: str,
        base_image: BaseImage,
        instance_type: str,
        volume_gib: int,
        environment: str,
        health_check_type: HealthCheckType,
        target_groups: Sequence[elbv2.NetworkTargetGroup],
        encryption: Encryption,
        notifications: Notifications,
    ) -> None:
        super().__init__(scope, construct_id)
        self.health_check_type = health_check_type
        self.template = ec2.LaunchTemplate(
            self,
            "Template",
            machine_image=ec2.MachineImage.resolve_ssm_parameter_at_launch(image_parameter),
            instance_type=ec2.InstanceType(instance_type),
            role=role,
            security_group=security_group,
            user_data=ec2.UserData.custom(environment),
            detailed_monitoring=True,
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            block_devices=[
                ec2.BlockDevice(
                    device_name=base_image.root_device,
                    volume=ec2.BlockDeviceVolume.ebs(
                        volume_gib,
                        encrypted=True,
                        kms_key=encryption.key,
                        volume_type=ec2.EbsDeviceVolumeType.GP3,
                        delete_on_termination=True,
                    ),
                )
            ],
        )
        self.group = autoscaling.CfnAutoScalingGroup(
            self,
            "Group",
            min_size=str(_MIN_SIZE),
            max_size=str(_MAX_SIZE),
            vpc_zone_identifier=vpc.select_subnets(subnet_type=subnets.subnet_type).subnet_ids,
            launch_template=autoscaling.CfnAutoScalingGroup.LaunchTemplateSpecificationProperty(
                launch_template_id=self.template.launch_template_id,
                version=self.template.latest_version_number,
            ),
            target_group_arns=[group.target_group_arn for group in target_groups],
            health_check_type=health_check_type,
            health_check_grace_period=_GRACE_SECONDS,
            default_instance_warmup=_WARMUP_SECONDS,
            instance_maintenance_policy=autoscaling.CfnAutoScalingGroup.InstanceMaintenancePolicyProperty(
                min_healthy_percentage=100, max_healthy_percentage=200
            ),
            max_instance_lifetime=cdk.Duration.days(_LIFETIME_DAYS).to_seconds(),
            # The newest instances hold the fewest long-lived sessions.
            termination_policies=["NewestInstance"],
            metrics_collection=[autoscaling.CfnAutoScalingGroup.MetricsCollectionProperty(granularity="1Minute")],
            notification_configurations=[
                _notification(notifications.failures.topic_arn, "LAUNCH_ERROR", "TERMINATE_ERROR"),
                _notification(notifications.scaling_events.topic_arn, "LAUNCH", "TERMINATE"),
            ],
            service_linked_role_arn=encryption.auto_scaling_role_arn,
            tags=[
                autoscaling.CfnAutoScalingGroup.TagPropertyProperty(
                    key="Name", value=f"{cdk.Stack.of(self).stack_name}/{scope.node.id}", propagate_at_launch=True
                )
            ],
        )
        self.group.add_resource_dependency(encryption.auto_scaling_role)
        # Updating the stack leaves the size alone, which the workflow has set.
        self.group.cfn_options.update_policy = cdk.CfnUpdatePolicy(
            auto_scaling_scheduled_action=cdk.CfnAutoScalingScheduledAction(
                ignore_unmodified_group_size_properties=True
            )
        )

    @property
    def name(self) -> str:
        """The group's name."""
        return self.group.ref

    @property
    def arn(self) -> str:
        """The group's ARN."""
        return self.group.attr_auto_scaling_group_arn


def _notification(topic_arn: str, *events: str) -> autoscaling.CfnAutoScalingGroup.NotificationConfigurationProperty:
    return autoscaling.CfnAutoScalingGroup.NotificationConfigurationProperty(
        topic_arn=topic_arn, notification_types=[f"autoscaling:EC2_INSTANCE_{event}" for event in events]
    )
