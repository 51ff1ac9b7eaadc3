"""Services of ours, asked by boto3 as everybody asks them, and what clients make of values from templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.endpoint.clients import Clients, typed
from local.endpoint.image_builder.resources import ImageResources
from local.endpoint.services import Service, ServiceError


class Stacks:
    """A service that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: Mapping[str, Any] = {}

    def create_stack(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked = parameters
        return {"StackId": "the id"}

    def delete_stack(self, _: Mapping[str, Any]) -> None:
        raise ServiceError("ValidationError", "it is <protected>")

    def list_stacks(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        raise RuntimeError("a mistake")


@pytest.fixture
def stacks() -> Stacks:
    return Stacks()


@pytest.fixture
def client(stacks: Stacks) -> Any:
    return Clients(Service("cloudformation", stacks), "http://localhost:1").client("cloudformation")


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_request_and_its_answer_travel_as_the_model_says(client: Any, stacks: Stacks) -> None:
    tags = [{"Key": "a", "Value": "ü&="}]
    answer = client.create_stack(StackName="name", Tags=tags, EnableTerminationProtection=True, TimeoutInMinutes=3)
    assert answer["StackId"] == "the id"
    assert dict(stacks.asked) == {
        "StackName": "name",
        "Tags": tags,
        "EnableTerminationProtection": True,
        "TimeoutInMinutes": 3,
    }


def test_an_error_of_a_service_reaches_the_client(client: Any) -> None:
    with pytest.raises(ClientError, match="it is <protected>") as error:
        client.delete_stack(StackName="name")
    assert code(error) == "ValidationError"


def test_an_operation_that_is_not_there_is_named(client: Any) -> None:
    with pytest.raises(ClientError, match="DescribeStacks") as error:
        client.describe_stacks()
    assert code(error) == "InvalidAction"


def test_a_mistake_in_a_service_is_an_error_of_the_server(client: Any) -> None:
    with pytest.raises(ClientError) as error:
        client.list_stacks()
    assert code(error) == "InternalFailure"


def test_values_of_templates_take_the_types_and_names_of_the_service() -> None:
    shape = boto3.client("imagebuilder", region_name="eu-central-1").meta.service_model.operation_model(
        "CreateImageRecipe"
    )
    given = {
        "Name": "a",
        "Tags": {"Name": "stays"},
        "BlockDeviceMappings": [{"Ebs": {"VolumeSize": "16", "Encrypted": "true"}}],
        "Unheard": 1,
    }
    assert shape.input_shape
    assert typed(given, shape.input_shape) == {
        "name": "a",
        "tags": {"Name": "stays"},
        "blockDeviceMappings": [{"ebs": {"volumeSize": 16, "encrypted": True}}],
        "Unheard": 1,
    }


@pytest.fixture
def image_builder() -> Any:
    return Clients(Service("imagebuilder", ImageResources()), "http://localhost:1").client("imagebuilder")


def component(image_builder: Any, data: str = "a") -> str:
    arn: str = image_builder.create_component(
        name="The Component", semanticVersion="1.0.0", platform="Linux", data=data, clientToken="t" * 36
    )["componentBuildVersionArn"]
    return arn


def recipe(image_builder: Any, component_arn: str) -> str:
    arn: str = image_builder.create_image_recipe(
        name="recipe",
        semanticVersion="1.0.0",
        parentImage="arn:aws:imagebuilder:eu-central-1:aws:image/x/x.x.x",
        components=[{"componentArn": component_arn}],
        clientToken="t" * 36,
    )["imageRecipeArn"]
    return arn


def test_a_component_is_told_by_its_arn(image_builder: Any) -> None:
    arn = component(image_builder)
    assert arn.endswith(":component/the-component/1.0.0/1")
    found = image_builder.get_component(componentBuildVersionArn=arn)["component"]
    assert (found["arn"], found["data"], found["version"]) == (arn, "a", "1.0.0")


def test_changed_content_under_an_existing_version_is_refused(image_builder: Any) -> None:
    component(image_builder)
    with pytest.raises(ClientError) as error:
        component(image_builder, "b")
    assert code(error) == "ResourceAlreadyExistsException"


def test_a_recipe_of_a_component_that_is_not_there_is_refused(image_builder: Any) -> None:
    with pytest.raises(ClientError, match="does not exist") as error:
        recipe(image_builder, "arn:aws:imagebuilder:eu-central-1:123456789012:component/missing/1.0.0/1")
    assert code(error) == "InvalidParameterValueException"


def test_a_component_in_use_cannot_be_deleted(image_builder: Any) -> None:
    arn = component(image_builder)
    made = recipe(image_builder, arn)
    with pytest.raises(ClientError) as error:
        image_builder.delete_component(componentBuildVersionArn=arn)
    assert code(error) == "ResourceDependencyException"
    image_builder.delete_image_recipe(imageRecipeArn=made)
    image_builder.delete_component(componentBuildVersionArn=arn)
    with pytest.raises(ClientError) as error:
        image_builder.get_component(componentBuildVersionArn=arn)
    assert code(error) == "ResourceNotFoundException"
