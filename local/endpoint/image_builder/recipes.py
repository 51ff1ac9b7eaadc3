"""What a pipeline builds: its recipe with the component documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.build import Component
from local.document import parse_document
from local.endpoint.image_builder.resources import COMPONENT, PIPELINE, RECIPE, ImageResources

_OWNER_AWS = "aws"


@dataclass(frozen=True)
class Recipe:
    """An image recipe with its components' documents, and the tags that its pipeline gives to images."""

    name: str
    version: str
    components: tuple[Component, ...]
    tags: Mapping[str, str]


def recipe_of(pipeline_arn: str, resources: ImageResources) -> Recipe:
    """The recipe that a pipeline builds.

    Components that AWS owns are left out: they install AWS's agents, which have nobody to talk to here. Raises
    `ServiceError` for a pipeline that does not exist, `DocumentError` for an unusable document.
    """
    pipeline = resources.resource(PIPELINE, pipeline_arn)
    recipe = resources.resource(RECIPE, pipeline[RECIPE.arn_key])
    return Recipe(
        name=recipe["name"],
        version=recipe["semanticVersion"],
        components=tuple(
            _component(use, resources) for use in recipe["components"] if _owner(use[COMPONENT.arn_key]) != _OWNER_AWS
        ),
        tags=pipeline["imageTags"],
    )


def _component(use: Mapping[str, Any], resources: ImageResources) -> Component:
    component = resources.resource(COMPONENT, use[COMPONENT.arn_key])
    source = f"component {component['name']} {component['semanticVersion']}"
    parameters = {parameter["name"]: parameter["value"][0] for parameter in use.get("parameters", [])}
    return Component(source, parse_document(component["data"], source), parameters)


def _owner(arn: str) -> str:
    return arn.split(":")[4]
