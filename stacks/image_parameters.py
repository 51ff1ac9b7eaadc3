"""The parameters of the published images, and who may read and write them."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.base_image import BaseImage
from stacks.exceptions import accept_finding
from stacks.functions import Functions
from stacks.network import Network

# CloudFormation gives up then. The function is done in seconds; a new role or a new route may take minutes to work.
_GIVE_UP = cdk.Duration.minutes(10)


class ImageParameters(Construct):
    """Creates the parameters with the base image in them, so that launch templates can be made before the first image.

    Why CloudFormation does not own them itself is told in `lambdas/seed_image_parameters.py`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Sequence[str],
        base_image: BaseImage,
        functions: Functions,
        network: Network,
    ) -> None:
        super().__init__(scope, construct_id)
        self._arns = {name: _arn(self, name) for name in names}
        self.validation_policy = self._validation_policy()
        seeder = functions.function(
            self,
            "Seeder",
            handler="seed_image_parameters",
            description="Creates the parameters of published images",
            statements=[
                iam.PolicyStatement(
                    actions=["ssm:GetParameters"],
                    resources=[*self.arns, _arn(self, base_image.public_parameter, account="")],
                ),
                iam.PolicyStatement(actions=["ssm:PutParameter", "ssm:DeleteParameters"], resources=self.arns),
            ],
            policies=[self.validation_policy],
        )
        self._seed = cdk.CustomResource(
            self,
            "Seed",
            resource_type="Custom::ImageParameters",
            service_token=seeder.function_arn,
            service_timeout=_GIVE_UP,
            properties={"BaseImageParameter": base_image.public_parameter, "ImageParameters": list(names)},
        )
        # The function is called while the stack is made and unmade, and runs in any of its subnets: all ways to AWS,
        # Amazon S3 included (it takes the answer), must be there before and after.
        self._seed.node.add_dependency(*network.ways_out)

    @property
    def arns(self) -> list[str]:
        """The parameters' ARNs."""
        return list(self._arns.values())

    def arn(self, name: str) -> str:
        """The ARN of one of the parameters."""
        return self._arns[name]

    def _validation_policy(self) -> iam.ManagedPolicy:
        """Who puts an AMI id into a parameter of that data type must be allowed to look at AMIs.

        https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-ec2-aliases.html
        """
        policy = iam.ManagedPolicy(
            self,
            "Validation",
            description="Secure Proxy: putting AMI ids into parameters",
            statements=[iam.PolicyStatement(actions=["ec2:DescribeImages"], resources=["*"])],
        )
        accept_finding(
            policy,
            rule="AwsSolutions-IAM5[Resource::*]",
            reason="ec2:DescribeImages knows no resources; Parameter Store asks for it to validate AMI ids.",
        )
        return policy


def _arn(scope: Construct, name: str, *, account: str | None = None) -> str:
    return cdk.Stack.of(scope).format_arn(
        service="ssm", account=account, resource="parameter", resource_name=name.removeprefix("/")
    )
