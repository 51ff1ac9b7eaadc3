"""Resource types of EC2 Image Builder.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_ImageBuilder.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register
from local.endpoint.image_builder import resources
from local.endpoint.image_builder.resources import Kind


class _ImageResource(ResourceType):
    """A resource whose `Ref` is its ARN."""

    kind: Kind
    updates = True

    def create(self, context: Context, properties: Properties) -> Made:
        answer = context.call("imagebuilder", f"create_{self.kind.word}", **self._parameters(properties.all()))
        identity = next(value for key, value in answer.items() if key.endswith("Arn"))
        return Made(identity, {"Arn": identity, "Name": properties["Name"]})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        parameters = self._parameters(new.without("Name", "Tags"))
        context.call("imagebuilder", f"update_{self.kind.word}", **{self.kind.arn_key: made.ref}, **parameters)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        build = "BuildVersion" if self.kind is resources.COMPONENT else ""
        key = f"{self.kind.key}{build}Arn"
        context.call("imagebuilder", f"delete_{self.kind.word}", **{key: made.ref})

    def _parameters(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        return {"semanticVersion" if name == "Version" else name: value for name, value in properties.items()}


class _Version(_ImageResource):
    """A component or recipe: only its tags can be changed."""

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        before, after = old.get("Tags", {}), new.get("Tags", {})
        gone = sorted(before.keys() - after.keys())
        if gone:
            context.call("imagebuilder", "untag_resource", resourceArn=made.ref, tagKeys=gone)
        context.call("imagebuilder", "tag_resource", resourceArn=made.ref, tags=after)
        return made


@register
class Component(_Version):
    name = "AWS::ImageBuilder::Component"
    kind = resources.COMPONENT
    replaced_by = frozenset({"Name", "Version", "Description", "Platform", "Data"})


@register
class Recipe(_Version):
    name = "AWS::ImageBuilder::ImageRecipe"
    kind = resources.RECIPE
    replaced_by = frozenset(
        {"Name", "Version", "Components", "ParentImage", "Description", "BlockDeviceMappings", "WorkingDirectory"}
    )


class _Configuration(_ImageResource):
    replaced_by = frozenset({"Name"})


@register
class Infrastructure(_Configuration):
    name = "AWS::ImageBuilder::InfrastructureConfiguration"
    kind = resources.INFRASTRUCTURE


@register
class Distribution(_Configuration):
    name = "AWS::ImageBuilder::DistributionConfiguration"
    kind = resources.DISTRIBUTION


@register
class Pipeline(_Configuration):
    """`ImageTags` are handed over apart from the rest: botocore's model of this version does not have them."""

    name = "AWS::ImageBuilder::ImagePipeline"
    kind = resources.PIPELINE

    def create(self, context: Context, properties: Properties) -> Made:
        made = super().create(context, Properties(properties.without("ImageTags")))
        resources.set_image_tags(made.ref, properties.get("ImageTags", {}))
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        super().update(context, made, old, Properties(new.without("ImageTags")))
        resources.set_image_tags(made.ref, new.get("ImageTags", {}))
        return made


@register
class LifecyclePolicy(_Configuration):
    name = "AWS::ImageBuilder::LifecyclePolicy"
    kind = resources.LIFECYCLE
