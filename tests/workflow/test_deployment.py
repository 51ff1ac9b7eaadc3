"""Deployments that succeed: the first, and those that replace what runs."""

from __future__ import annotations

import pytest

from lambdas.common.errors import TransientServiceError
from tests.workflow.errors import service_error
from tests.workflow.runner import Workflow

SUCCESS = [
    "NewDeployment",
    "BeginDeployment",
    "StartImageBuilds",
    "WaitForImageBuilds",
    "CheckImageBuilds",
    "ImageBuildsDone?",
    "PublishImages",
    "LaunchMockServers",
    "LaunchSecureProxy",
    "WaitForHealth",
    "CheckHealth",
    "HealthDone?",
    "Succeed",
]


def without_repetition(states: list[str]) -> list[str]:
    return list(dict.fromkeys(states))


def test_the_first_deployment_passes_through_its_states_in_order(workflow: Workflow) -> None:
    outcome = workflow.run("first")
    assert outcome.status == "SUCCEEDED"
    assert without_repetition(outcome.states) == SUCCESS


def test_the_first_deployment_fills_both_groups_with_the_new_images(workflow: Workflow) -> None:
    workflow.run("first")
    images = {build.image_id for build in workflow.world.builds}
    assert len(images) == 2
    assert set(workflow.world.parameters.values()) == images
    for group in workflow.world.groups.values():
        assert [instance.image_id for instance in workflow.world.healthy(group)] == [
            workflow.world.parameters[group.image_parameter]
        ] * group.desired
        assert group.desired == group.minimum > 0


def test_a_success_notifies_nobody(workflow: Workflow) -> None:
    workflow.run("first")
    assert workflow.notifications() == []


def test_another_deployment_replaces_all_instances_and_keeps_their_number(deployed: Workflow) -> None:
    before = {name: group.desired for name, group in deployed.world.groups.items()}
    old = {instance.instance_id for group in deployed.world.groups.values() for instance in group.instances}
    assert deployed.run("second").status == "SUCCEEDED"
    assert {name: group.desired for name, group in deployed.world.groups.items()} == before
    for group in deployed.world.groups.values():
        assert old.isdisjoint(instance.instance_id for instance in group.instances)
        assert {instance.image_id for instance in group.instances} == {deployed.world.parameters[group.image_parameter]}


def test_during_another_deployment_there_are_never_fewer_healthy_instances(deployed: Workflow) -> None:
    assert deployed.run("second").status == "SUCCEEDED"
    for group in deployed.world.groups.values():
        assert group.fewest_healthy == group.desired


def test_a_group_that_was_scaled_out_keeps_its_size(deployed: Workflow) -> None:
    (proxies,) = (group for group in deployed.world.groups.values() if "Proxy" in group.name)
    proxies.desired = 4
    deployed.world.pass_time(60)
    assert deployed.run("second").status == "SUCCEEDED"
    assert proxies.desired == 4


def test_throttling_of_every_call_once_is_survived(deployed: Workflow) -> None:
    """Each call that the success path makes is refused at its first attempt."""
    deployed.run("which-calls-are-made")
    operations = set(deployed.world.calls)
    for operation in operations:
        deployed.clients.faults[operation].append(service_error("ThrottlingException", operation))
    outcome = deployed.run("throttled")
    assert outcome.status == "SUCCEEDED"
    assert len(operations) >= 9
    assert not any(deployed.clients.faults.values())


@pytest.mark.parametrize(("code", "status"), [("InternalFailure", 500), ("ServiceUnavailable", 503)])
def test_errors_on_the_services_side_are_survived(workflow: Workflow, code: str, status: int) -> None:
    workflow.clients.faults["start_image_pipeline_execution"].extend(
        service_error(code, "StartImagePipelineExecution", status) for _ in range(3)
    )
    assert workflow.run("first").status == "SUCCEEDED"


def test_a_retried_start_builds_each_image_once(workflow: Workflow) -> None:
    """The function's answer is lost after both builds have begun: the state is run again as a whole."""
    lost = iter([TransientServiceError("the connection was closed")])

    def fault(name: str) -> None:
        if name == "StartImageBuilds" and (error := next(lost, None)):
            raise error

    workflow.after_task = fault
    assert workflow.run("first").status == "SUCCEEDED"
    assert workflow.world.calls["start_image_pipeline_execution"] == 4
    assert len(workflow.world.builds) == 2
