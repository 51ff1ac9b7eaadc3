"""Deployments that succeed: the first, and those that replace what runs."""

from __future__ import annotations

import pytest

from lambdas.common.errors import TransientServiceError
from tests.workflow.errors import service_error
from tests.workflow.runner import Workflow
from tests.workflow.world import Group

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
    "EndRollout",
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


def proxies_of(workflow: Workflow) -> Group:
    (proxies,) = (group for group in workflow.world.groups.values() if "Proxy" in group.name)
    return proxies


def test_a_group_that_was_scaled_out_keeps_its_size(deployed: Workflow) -> None:
    proxies = proxies_of(deployed)
    proxies.desired = 4
    deployed.world.pass_time(60)
    assert deployed.run("second").status == "SUCCEEDED"
    assert proxies.desired == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((3, 5, 3), (2, 4, 2)),  # minimum and maximum were lowered
        ((1, 1, 1), (2, 4, 2)),  # both were raised
        ((1, 9, 9), (2, 4, 4)),  # scaled out beyond a maximum that was lowered
        ((1, 9, 3), (2, 4, 3)),  # scaled out, and still within the bounds
    ],
    ids=["shrinks", "grows", "is-cut-to-the-maximum", "stays"],
)
def test_the_fleet_follows_capacities_that_were_changed(
    deployed: Workflow, before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    """The settings are 2 and 4; what stands there is of a deployment with others."""
    proxies = proxies_of(deployed)
    proxies.minimum, proxies.maximum, proxies.desired = before
    deployed.world.pass_time(60)
    assert deployed.run("second").status == "SUCCEEDED"
    deployed.world.pass_time(60)
    assert (proxies.minimum, proxies.maximum, proxies.desired) == after
    assert len(deployed.world.healthy(proxies)) == proxies.desired


def test_load_balancers_are_asked_about_new_proxies_while_old_ones_are_replaced_and_not_afterwards(
    deployed: Workflow,
) -> None:
    proxies, asked = proxies_of(deployed), set()
    assert proxies.health_check_type == "EC2"

    def look() -> None:
        if proxies.refresh:
            asked.add(proxies.health_check_type)

    deployed.on_wait = look
    assert deployed.run("second").status == "SUCCEEDED"
    assert asked == {"ELB"}
    assert proxies.health_check_type == "EC2"


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
