"""Runs of image pipelines on the local endpoint, in a workshop that makes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.endpoint.account import arn
from local.endpoint.image_builder.builds import Builds
from local.endpoint.image_builder.recipes import Recipe
from local.endpoint.image_builder.resources import ImageResources, set_image_tags
from local.endpoint.services import ServiceError
from local.errors import LocalError
from local.processes import wait_until
from local.targets import CancelledError

IMAGE = arn("imagebuilder", "image/proxy/1.0.7")
AGENT = "arn:aws:imagebuilder:eu-central-1:aws:component/agent/x.x.x"
DOCUMENT = """
schemaVersion: 1.0
parameters:
  - Word:
      type: string
phases:
  - name: build
    steps:
      - name: Say
        action: ExecuteBash
        inputs:
          commands:
            - echo '{{ Word }}'
"""


class Workshop:
    """Waits until it is told how a build ends."""

    def __init__(self) -> None:
        self.made: list[Recipe] = []
        self.go_on = threading.Event()
        self.error: Exception | None = None

    def make(self, recipe: Recipe, cancel: threading.Event, report: Callable[[str], None]) -> str:
        self.made.append(recipe)
        report("BUILDING")
        while not self.go_on.wait(0.01):
            if cancel.is_set():
                raise CancelledError("interrupted")
        if self.error:
            raise self.error
        return "ami-1"


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def resources() -> ImageResources:
    """Two pipelines of one recipe, which has a component of ours and one of AWS."""
    made = ImageResources()
    component = made.create_component({"name": "say", "semanticVersion": "1.0.1", "data": DOCUMENT})
    ours = {
        "componentArn": component["componentBuildVersionArn"],
        "parameters": [{"name": "Word", "value": ["hello"]}],
    }
    recipe = made.create_image_recipe(
        {"name": "proxy", "semanticVersion": "1.0.7", "components": [{"componentArn": AGENT}, ours]}
    )
    for name in ("proxy", "other"):
        pipeline = made.create_image_pipeline({"name": name, "imageRecipeArn": recipe["imageRecipeArn"]})
        set_image_tags(pipeline["imagePipelineArn"], {"owner": "us"})
    return made


@pytest.fixture
def builds(resources: ImageResources, workshop: Workshop) -> Iterator[Builds]:
    made = Builds(resources, workshop)
    yield made
    made.stop()


PIPELINE = arn("imagebuilder", "image-pipeline/proxy")
OTHER = arn("imagebuilder", "image-pipeline/other")


def start(builds: Builds, attempt: str = "once", pipeline: str = PIPELINE) -> str:
    started = builds.start_image_pipeline_execution({"imagePipelineArn": pipeline, "clientToken": attempt})
    return str(started["imageBuildVersionArn"])


def named(*names: str) -> dict[str, Any]:
    """A filter by name."""
    return {"filters": [{"name": "name", "values": list(names)}]}


def status(builds: Builds, build_arn: str) -> str:
    return str(builds.get_image({"imageBuildVersionArn": build_arn})["image"]["state"]["status"])


def ended(builds: Builds, build_arn: str) -> dict[str, Any]:
    assert wait_until(lambda: status(builds, build_arn) in ("AVAILABLE", "FAILED", "CANCELLED"), 10, 0.01)
    image: dict[str, Any] = builds.get_image({"imageBuildVersionArn": build_arn})["image"]
    return image


def test_a_build_is_under_way_before_it_is_available(builds: Builds, workshop: Workshop) -> None:
    build_arn = start(builds)
    assert wait_until(lambda: status(builds, build_arn) == "BUILDING", 10, 0.01)
    workshop.go_on.set()
    image = ended(builds, build_arn)
    assert image["state"] == {"status": "AVAILABLE"}
    assert [(ami["region"], ami["image"]) for ami in image["outputResources"]["amis"]] == [("eu-central-1", "ami-1")]


def test_what_is_built_are_our_components_with_the_recipes_parameters(builds: Builds, workshop: Workshop) -> None:
    workshop.go_on.set()
    ended(builds, start(builds))
    [recipe] = workshop.made
    assert (recipe.name, recipe.version, recipe.tags) == ("proxy", "1.0.7", {"owner": "us"})
    assert [component.parameters for component in recipe.components] == [{"Word": "hello"}]


def test_builds_of_one_version_are_counted(builds: Builds, workshop: Workshop) -> None:
    workshop.go_on.set()
    assert [start(builds, token) for token in "abc"] == [f"{IMAGE}/{number}" for number in (1, 2, 3)]


def test_the_same_token_starts_nothing_new(builds: Builds, workshop: Workshop) -> None:
    workshop.go_on.set()
    assert start(builds) == start(builds)
    ended(builds, start(builds))
    assert len(workshop.made) == 1


def test_the_same_token_for_another_pipeline_is_refused(builds: Builds) -> None:
    start(builds)
    with pytest.raises(ServiceError) as caught:
        start(builds, pipeline=OTHER)
    assert caught.value.code == "IdempotentParameterMismatchException"


def test_a_pipeline_that_does_not_exist_is_refused(builds: Builds) -> None:
    for call in (builds.start_image_pipeline_execution, builds.list_image_pipeline_images):
        with pytest.raises(ServiceError) as caught:
            call({"imagePipelineArn": f"{PIPELINE}s", "clientToken": "t"})
        assert caught.value.code == "ResourceNotFoundException"


def test_a_document_that_cannot_be_read_is_refused_before_anything_is_built(
    resources: ImageResources, builds: Builds, workshop: Workshop
) -> None:
    data = DOCUMENT.replace("ExecuteBash", "Reboot")
    component = resources.create_component({"name": "say", "semanticVersion": "1.0.2", "data": data})
    components = [{"componentArn": component["componentBuildVersionArn"]}]
    recipe = resources.create_image_recipe({"name": "proxy", "semanticVersion": "1.0.8", "components": components})
    resources.update_image_pipeline({"imagePipelineArn": PIPELINE, "imageRecipeArn": recipe["imageRecipeArn"]})
    with pytest.raises(ServiceError, match=r"component say 1\.0\.2.*Reboot"):
        start(builds)
    assert workshop.made == []


def test_a_failed_build_tells_the_reason(builds: Builds, workshop: Workshop) -> None:
    workshop.error = LocalError("step Packages of phase build failed")
    workshop.go_on.set()
    image = ended(builds, start(builds))
    assert image["state"] == {"status": "FAILED", "reason": "step Packages of phase build failed"}
    assert image["outputResources"]["amis"] == []


def test_an_error_that_nobody_expected_ends_the_build_as_failed(builds: Builds, workshop: Workshop) -> None:
    workshop.error = OSError(28, "No space left on device")
    workshop.go_on.set()
    state = ended(builds, start(builds))["state"]
    assert state["status"] == "FAILED"
    assert "No space left on device" in state["reason"]


def test_a_cancelled_build_ends_as_cancelled(builds: Builds) -> None:
    build_arn = start(builds)
    builds.cancel_image_creation({"imageBuildVersionArn": build_arn, "clientToken": "c"})
    assert ended(builds, build_arn)["state"] == {"status": "CANCELLED"}


def test_a_build_that_is_over_cannot_be_cancelled(builds: Builds, workshop: Workshop) -> None:
    workshop.go_on.set()
    build_arn = ended(builds, start(builds))["arn"]
    with pytest.raises(ServiceError, match="is AVAILABLE"):
        builds.cancel_image_creation({"imageBuildVersionArn": build_arn, "clientToken": "c"})


def test_a_pipeline_lists_its_own_builds_the_newest_first(builds: Builds, workshop: Workshop) -> None:
    workshop.go_on.set()
    first, second = start(builds, "1"), start(builds, "2")
    start(builds, "3", OTHER)
    listed = builds.list_image_pipeline_images({"imagePipelineArn": PIPELINE})["imageSummaryList"]
    assert [summary["arn"] for summary in listed] == [second, first]


def test_images_are_listed_by_version_and_by_build(builds: Builds, workshop: Workshop) -> None:
    workshop.go_on.set()
    arns = [start(builds, token) for token in "12"]
    for asked, found in (({}, [IMAGE]), (named("proxy", "x"), [IMAGE]), (named("x"), [])):
        assert [version["arn"] for version in builds.list_images(asked)["imageVersionList"]] == found
    listed = builds.list_image_build_versions({"imageVersionArn": IMAGE})["imageSummaryList"]
    assert [summary["arn"] for summary in listed] == arns[::-1]


def test_a_deleted_image_is_listed_no_more(builds: Builds, workshop: Workshop) -> None:
    workshop.go_on.set()
    build_arn = ended(builds, start(builds))["arn"]
    builds.delete_image({"imageBuildVersionArn": build_arn})
    assert builds.list_images({})["imageVersionList"] == []
    with pytest.raises(ServiceError) as caught:
        builds.get_image({"imageBuildVersionArn": build_arn})
    assert caught.value.code == "ResourceNotFoundException"


def test_an_image_in_the_making_cannot_be_deleted(builds: Builds) -> None:
    with pytest.raises(ServiceError, match="cancel it first"):
        builds.delete_image({"imageBuildVersionArn": start(builds)})


def test_stopping_ends_every_build(builds: Builds) -> None:
    build_arn = start(builds)
    builds.stop()
    assert status(builds, build_arn) == "CANCELLED"


def test_a_filter_of_another_kind_is_refused(builds: Builds) -> None:
    with pytest.raises(ServiceError, match="by name alone"):
        builds.list_images({"filters": [{"name": "platform", "values": ["Linux"]}]})
