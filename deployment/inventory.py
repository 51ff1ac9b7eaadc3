"""What there is of a deployment, in the stack and outside of it."""

from __future__ import annotations

from dataclasses import dataclass

from deployment.account import Aws
from deployment.images import Ami, Build, find_amis, find_builds, find_instances, find_snapshots
from deployment.stack import Resource, Stack, find_stack, resources_of
from stacks.names import MOCK_SERVERS_IMAGE, SECURE_PROXY_IMAGE, ParameterNames


@dataclass(frozen=True)
class Inventory:
    """The stack with its resources, and what others have made on its behalf."""

    stack: Stack | None
    resources: list[Resource]
    builds: list[Build]
    amis: list[Ami]
    snapshots: list[str]  # with those of the AMIs
    instances: list[str]
    parameters: list[str]

    def of_kind(self, kind: str) -> list[str]:
        """The physical ids of the stack's resources of a type such as `AWS::S3::Bucket`."""
        return [resource.physical_id for resource in self.resources if resource.kind == kind]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not self.describe()

    def describe(self) -> list[str]:
        """Lines for people: each thing that costs something by its name, the rest as a number."""
        lines = []
        if self.stack is not None:
            lines.append(f"stack {self.stack.id.split('/')[1]} ({self.stack.status}), {len(self.resources)} resources")
            lines += [f"Auto Scaling group {name}" for name in self.of_kind("AWS::AutoScaling::AutoScalingGroup")]
            lines += [f"bucket {name} with all that is in it" for name in self.of_kind("AWS::S3::Bucket")]
            lines += [f"log group {name}" for name in self.of_kind("AWS::Logs::LogGroup")]
        lines += [f"Image Builder image {build.name} ({build.status})" for build in self.builds]
        lines += [f"AMI {ami.id} ({ami.name})" for ami in self.amis]
        lines += [f"snapshot {snapshot}" for snapshot in self.snapshots]
        lines += [f"build instance {instance}" for instance in self.instances]
        lines += [f"parameter {name}" for name in self.parameters]
        return lines


def take_inventory(aws: Aws, names: ParameterNames) -> Inventory:
    """Looks at all of it, reading alone."""
    stack = find_stack(aws)
    resources = [] if stack is None else resources_of(aws, stack)
    pipelines = [entry.physical_id for entry in resources if entry.kind == "AWS::ImageBuilder::ImagePipeline"]
    amis = find_amis(aws)
    snapshots = {snapshot for ami in amis for snapshot in ami.snapshots} | set(find_snapshots(aws))
    return Inventory(
        stack=stack,
        resources=resources,
        builds=find_builds(aws, pipelines),
        amis=amis,
        snapshots=sorted(snapshots),
        instances=find_instances(aws),
        parameters=_image_parameters(aws, names),
    )


def _image_parameters(aws: Aws, names: ParameterNames) -> list[str]:
    """The parameters that a function of the stack makes and deletes, so that CloudFormation does not know them."""
    wanted = [names.image(SECURE_PROXY_IMAGE), names.image(MOCK_SERVERS_IMAGE)]
    return [entry["Name"] for entry in aws.client("ssm").get_parameters(Names=wanted)["Parameters"]]
