"""The functions of the deployment workflow, one a task, each allowed exactly the calls that its handler makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.exceptions import accept_finding
from stacks.functions import Functions
from stacks.image_parameters import ImageParameters
from stacks.image_pipeline import ImagePipeline
from stacks.load_balancer import LoadBalancer
from stacks.machine_group import MachineGroup
from stacks.names import SECURE_PROXY_IMAGE, STATE_MACHINE

_ANY = "AwsSolutions-IAM5[Resource::*]"


@dataclass(frozen=True)
class Tier:
    """An image with the machines that run it."""

    name: str  # in states and functions: LaunchSecureProxy
    key: str  # in what travels between states: secureProxy
    pipeline: ImagePipeline
    image_parameter: str
    machines: MachineGroup
    load_balancer: LoadBalancer
    capacity: int
    max_capacity: int


class WorkflowFunctions(Construct):
    """The functions by the name of the state that calls them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: Functions,
        tiers: Sequence[Tier],
        image_parameters: ImageParameters,
    ) -> None:
        super().__init__(scope, construct_id)
        self._functions = functions
        self._tiers = tiers
        self._images = image_parameters
        self._looking = self._looking_at_groups()
        self.begin_deployment = self._begin_deployment()
        self.start_image_builds = self._start_image_builds()
        self.check_image_builds = self._check_image_builds()
        self.publish_images = self._publish_images()
        self.launch = {tier.name: self._launch(tier) for tier in tiers}
        self.check_health = self._check_health()
        self.end_rollout = self._end_rollout()
        self.roll_back = self._roll_back()

    @property
    def all(self) -> list[lambda_.Function]:
        """Every function that the state machine calls."""
        return [
            self.begin_deployment,
            self.start_image_builds,
            self.check_image_builds,
            self.publish_images,
            *self.launch.values(),
            self.check_health,
            self.end_rollout,
            self.roll_back,
        ]

    def _looking_at_groups(self) -> iam.ManagedPolicy:
        """What all functions do that must know how the groups are."""
        policy = iam.ManagedPolicy(
            self,
            "Looking",
            description="Secure Proxy: looking at Auto Scaling groups",
            statements=[
                _allow(["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes"], ["*"])
            ],
        )
        accept_finding(policy, rule=_ANY, reason="EC2 Auto Scaling's Describe calls know no resources; they only read.")
        return policy

    def _begin_deployment(self) -> lambda_.Function:
        return self._functions.function(
            self,
            "BeginDeployment",
            handler="begin_deployment",
            description="Refuses a second deployment, notes what was before",
            statements=[
                _allow(["states:ListExecutions"], [state_machine_arn(self)]),
                _allow(["ssm:GetParameters"], self._images.arns),
            ],
            policies=[self._looking],
        )

    def _start_image_builds(self) -> lambda_.Function:
        return self._functions.function(
            self,
            "StartImageBuilds",
            handler="start_image_builds",
            description="Runs both Image Builder pipelines",
            statements=[
                _allow(
                    ["imagebuilder:GetImagePipeline", "imagebuilder:StartImagePipelineExecution"], self._pipeline_arns
                )
            ],
        )

    def _check_image_builds(self) -> lambda_.Function:
        return self._functions.function(
            self,
            "CheckImageBuilds",
            handler="check_image_builds",
            description="Asks Image Builder how the builds are doing",
            statements=[_allow(["imagebuilder:ListImagePipelineImages"], self._pipeline_arns)],
        )

    def _publish_images(self) -> lambda_.Function:
        return self._functions.function(
            self,
            "PublishImages",
            handler="publish_images",
            description="Makes the new images those that instances start from",
            statements=[_allow(["ssm:GetParameters", "ssm:PutParameter"], self._images.arns)],
            policies=[self._images.validation_policy],
        )

    def _launch(self, tier: Tier) -> lambda_.Function:
        return self._functions.function(
            self,
            f"Launch{tier.name}",
            handler="launch_fleet",
            description=f"Fills or renews the group {tier.name}",
            statements=[
                _allow(["autoscaling:StartInstanceRefresh", "autoscaling:UpdateAutoScalingGroup"], [tier.machines.arn]),
                # EC2 Auto Scaling validates the launch template's image with the caller's permissions.
                _allow(["ssm:GetParameters"], [self._images.arn(tier.image_parameter)]),
            ],
        )

    def _check_health(self) -> lambda_.Function:
        return self._functions.function(
            self,
            "CheckHealth",
            handler="check_health",
            description="Asks whether all instances are healthy behind their load balancers",
            statements=[
                _allow(
                    [
                        "autoscaling:DescribeScalingActivities",
                        "elasticloadbalancing:DescribeTargetHealth",
                    ],
                    ["*"],
                )
            ],
            policies=[self._looking],
            accepted={_ANY: "Describe calls of Auto Scaling and load balancing know no resources; they only read."},
        )

    def _end_rollout(self) -> lambda_.Function:
        return self._functions.function(
            self,
            "EndRollout",
            handler="end_rollout",
            description="Has instances judged as between deployments",
            statements=[
                _allow(["autoscaling:UpdateAutoScalingGroup"], [tier.machines.arn for tier in self._tiers]),
                # EC2 Auto Scaling validates the launch template's image with the caller's permissions.
                _allow(["ssm:GetParameters"], self._images.arns),
            ],
        )

    def _roll_back(self) -> lambda_.Function:
        # Versions and numbers of builds are not known before they run; both images' names begin alike.
        builds = cdk.Stack.of(self).format_arn(
            service="imagebuilder", resource="image", resource_name=f"{SECURE_PROXY_IMAGE}*"
        )
        return self._functions.function(
            self,
            "RollBack",
            handler="roll_back",
            description="Returns to what was before a failed deployment",
            statements=[
                _allow(["ssm:GetParameters", "ssm:PutParameter"], self._images.arns),
                _allow(
                    [
                        "autoscaling:CancelInstanceRefresh",
                        "autoscaling:StartInstanceRefresh",
                        "autoscaling:UpdateAutoScalingGroup",
                    ],
                    [tier.machines.arn for tier in self._tiers],
                ),
                _allow(["imagebuilder:ListImagePipelineImages"], self._pipeline_arns),
                _allow(["imagebuilder:CancelImageCreation"], [builds]),
            ],
            policies=[self._images.validation_policy, self._looking],
            accepted={
                f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:imagebuilder:<AWS::Region>:<AWS::AccountId>:image/"
                f"{SECURE_PROXY_IMAGE}*]": "A build's name ends in its version and number, unknown before it runs.",
            },
        )

    @property
    def _pipeline_arns(self) -> list[str]:
        return [tier.pipeline.arn for tier in self._tiers]


def state_machine_arn(scope: Construct) -> str:
    """The state machine's ARN from its name: asking the resource itself would go in a circle with its functions."""
    return cdk.Stack.of(scope).format_arn(
        service="states",
        resource="stateMachine",
        resource_name=STATE_MACHINE,
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )


def _allow(actions: Sequence[str], resources: Sequence[str]) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=list(actions), resources=list(resources))
