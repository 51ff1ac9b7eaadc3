"""Deployments that fail: each ends at once, tells why, leaves nothing half-done, and may be run again."""

from __future__ import annotations

import pytest

from lambdas.common.errors import TransientServiceError
from stacks.deployment_workflow import POLL_SECONDS
from tests.workflow.errors import service_error
from tests.workflow.runner import Outcome, Workflow
from tests.workflow.world import BUILD_SECONDS

# A failed state waits for no one; a build's end is seen at the next look.
ONE_POLL = POLL_SECONDS
TASKS = [
    "BeginDeployment",
    "StartImageBuilds",
    "CheckImageBuilds",
    "PublishImages",
    "LaunchMockServers",
    "LaunchSecureProxy",
    "CheckHealth",
    "EndRollout",
]


def assert_failed_cleanly(workflow: Workflow, outcome: Outcome, before: object, *causes: str) -> None:
    """FAILED, with the causes in the execution and in the one notification, and everything as it was before."""
    assert outcome.status == "FAILED"
    (notification,) = workflow.notifications()
    for cause in causes:
        assert cause in notification
        assert cause in outcome.cause
    workflow.world.pass_time(120)  # for what the roll-back has begun
    assert workflow.world.standing() == before


def assert_rerun_succeeds(workflow: Workflow) -> None:
    assert workflow.run("again").status == "SUCCEEDED"
    for group in workflow.world.groups.values():
        assert len(workflow.world.healthy(group)) == group.desired > 0


def fail_in(workflow: Workflow, task: str, error: Exception) -> None:
    """Has the function of a state raise, until it is told otherwise."""

    def fault(name: str) -> None:
        if name == task:
            raise error

    workflow.before_task = fault


@pytest.mark.parametrize(
    ("image", "status"),
    [("secure-proxy", "FAILED"), ("secure-proxy-mock-servers", "CANCELLED"), ("secure-proxy", "TIMED_OUT")],
)
@pytest.mark.parametrize("start", ["workflow", "deployed"])
def test_a_build_that_ends_badly(request: pytest.FixtureRequest, start: str, image: str, status: str) -> None:
    workflow: Workflow = request.getfixturevalue(start)
    before = workflow.world.standing()
    workflow.world.outcomes[image].append((status, "the step NginxTest failed"))
    outcome = workflow.run("bad-build")
    assert_failed_cleanly(workflow, outcome, before, "ImageBuildFailedError", status, "the step NginxTest failed")
    assert outcome.waited <= BUILD_SECONDS + ONE_POLL
    assert_rerun_succeeds(workflow)


def test_the_other_build_is_cancelled_when_one_fails(workflow: Workflow) -> None:
    workflow.world.outcomes["secure-proxy"].append(("FAILED", "r"))
    workflow.world.build_seconds["secure-proxy-mock-servers"] = 10 * BUILD_SECONDS
    workflow.run("bad-build")
    statuses = {build.pipeline_arn.split("/")[1]: build.status(workflow.world.now) for build in workflow.world.builds}
    assert statuses == {"secure-proxy": "FAILED", "secure-proxy-mock-servers": "CANCELLED"}
    assert "cancelled arn:" in workflow.notifications()[0]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("start", ["workflow", "deployed"])
def test_a_handler_that_raises(request: pytest.FixtureRequest, start: str, task: str) -> None:
    workflow: Workflow = request.getfixturevalue(start)
    before = workflow.world.standing()
    fail_in(workflow, task, ZeroDivisionError(f"a mistake in {task}"))
    outcome = workflow.run("mistake")
    assert outcome.error == "ZeroDivisionError"
    assert_failed_cleanly(workflow, outcome, before, f"ZeroDivisionError: a mistake in {task}")
    workflow.before_task = lambda _: None
    assert_rerun_succeeds(workflow)


@pytest.mark.parametrize("task", TASKS)
def test_a_handler_that_raises_after_it_did_its_work(deployed: Workflow, task: str) -> None:
    before = deployed.world.standing()

    def fault(name: str) -> None:
        if name == task:
            raise ZeroDivisionError(f"a mistake after {task}")

    deployed.after_task = fault
    outcome = deployed.run("mistake")
    deployed.after_task = lambda _: None
    # Groups are touched from the first launch on; a launch whose result is lost is undone like any other.
    assert_failed_cleanly(deployed, outcome, before, f"a mistake after {task}")
    assert_rerun_succeeds(deployed)


def test_throttling_that_lasts_ends_the_deployment(workflow: Workflow) -> None:
    before = workflow.world.standing()
    fail_in(workflow, "PublishImages", TransientServiceError("Rate exceeded"))
    outcome = workflow.run("throttled")
    workflow.before_task = lambda _: None
    assert_failed_cleanly(workflow, outcome, before, "TransientServiceError", "Rate exceeded")
    assert_rerun_succeeds(workflow)


def test_an_image_that_never_shows_in_parameter_store(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    before = workflow.world.standing()
    monkeypatch.setattr(workflow.world, "put_parameter", lambda _: {})
    outcome = workflow.run("invisible")
    assert_failed_cleanly(workflow, outcome, before, "ImageNotVisibleError")


def test_targets_that_never_become_healthy_at_first(impatient: Workflow) -> None:
    before = impatient.world.standing()
    impatient.world.bad_images = lambda image: image.endswith("secure-proxy")
    outcome = impatient.run("unhealthy")
    assert_failed_cleanly(impatient, outcome, before, "TargetsUnhealthyError", "codes: [503]")
    impatient.world.pass_time(60)
    assert all(not group.instances for group in impatient.world.groups.values())
    impatient.world.bad_images = lambda _: False
    assert_rerun_succeeds(impatient)


def test_targets_that_never_become_healthy_leave_the_old_ones_serving(deployed_impatient: Workflow) -> None:
    before = deployed_impatient.world.standing()
    old = set(deployed_impatient.world.parameters.values())
    (proxies,) = (group for group in deployed_impatient.world.groups.values() if "Proxy" in group.name)
    serving = [instance.instance_id for instance in proxies.instances]
    deployed_impatient.world.bad_images = lambda image: image not in old and image.endswith("secure-proxy")
    outcome = deployed_impatient.run("unhealthy")
    assert_failed_cleanly(
        deployed_impatient, outcome, before, "TargetsUnhealthyError", "has replaced 0 % of its instances"
    )
    for group in deployed_impatient.world.groups.values():
        assert group.fewest_healthy == group.desired == len(deployed_impatient.world.healthy(group))
    # None of them was replaced, so none had to be again: their sessions live on.
    assert [instance.instance_id for instance in proxies.instances] == serving
    deployed_impatient.world.bad_images = lambda _: False
    assert_rerun_succeeds(deployed_impatient)


def test_builds_that_never_end_are_cancelled_in_the_end(impatient: Workflow) -> None:
    before = impatient.world.standing()

    def begin_anew() -> None:
        for build in impatient.world.builds:
            build.started = impatient.world.now

    impatient.on_wait = begin_anew
    outcome = impatient.run("endless")
    assert_failed_cleanly(impatient, outcome, before, "ImageBuildTimedOutError")
    assert {build.status(impatient.world.now) for build in impatient.world.builds} == {"CANCELLED"}


def test_a_second_execution_at_once_is_refused_and_the_first_goes_on(workflow: Workflow) -> None:
    second: list[Outcome] = []

    def start_second() -> None:
        workflow.on_wait = lambda: None
        second.append(workflow.outcome(workflow.start("second")))

    workflow.on_wait = start_second
    first = workflow.run("first")
    assert first.status == "SUCCEEDED"
    assert [outcome.status for outcome in second] == ["FAILED"]
    assert second[0].error == "DeploymentInProgressError"
    assert second[0].states == ["NewDeployment", "BeginDeployment", "RollBack", "NotifyFailure", "Failed"]
    (notification,) = workflow.notifications()
    assert "execution:SecureProxyDeployment:first started earlier" in notification
    assert "Nothing was begun" in notification
    assert len(workflow.world.builds) == 2


def test_a_retry_finds_the_replacement_that_it_began(deployed: Workflow) -> None:
    """The function ended without an answer after EC2 Auto Scaling had begun: it is asked again, and goes on."""
    lost = iter([True])

    class Timedout(Exception):  # noqa: N818 - as AWS Lambda calls it
        pass

    Timedout.__name__ = "Sandbox.Timedout"

    def fault(name: str) -> None:
        if name == "LaunchSecureProxy" and next(lost, False):
            raise Timedout("Task timed out after 120.00 seconds")

    deployed.after_task = fault
    assert deployed.run("lost-answer").status == "SUCCEEDED"


def test_a_roll_back_that_fails_is_told_with_both_causes(workflow: Workflow) -> None:
    def fault(name: str) -> None:
        if name in ("PublishImages", "RollBack"):
            raise ZeroDivisionError(f"a mistake in {name}")

    workflow.before_task = fault
    outcome = workflow.run("mistakes")
    assert (outcome.status, outcome.error) == ("FAILED", "NotRolledBack")
    (notification,) = workflow.notifications()
    assert "a mistake in PublishImages" in notification
    assert "a mistake in RollBack" in notification


def test_machines_of_a_withdrawn_image_are_replaced_again_and_the_notification_says_so(deployed: Workflow) -> None:
    before = deployed.world.standing()
    fail_in(deployed, "EndRollout", ZeroDivisionError("a mistake"))  # all machines run the new images by then
    outcome = deployed.run("mistake")
    for name in deployed.world.groups:
        assert f"began to replace the instances of {name}" in deployed.notifications()[0]
    assert_failed_cleanly(deployed, outcome, before, "a mistake")
    for group in deployed.world.groups.values():
        assert group.fewest_healthy == group.desired


def test_a_roll_back_that_is_retried_leaves_the_replacement_that_it_has_begun(deployed: Workflow) -> None:
    before = deployed.world.standing()

    def fault(name: str) -> None:
        if name == "EndRollout":
            busy = service_error("InstanceRefreshInProgress", "StartInstanceRefresh")
            deployed.clients.faults["start_instance_refresh"].append(busy)
            raise ZeroDivisionError("a mistake")

    deployed.before_task = fault
    outcome = deployed.run("mistake")
    assert outcome.states.count("RollBack") == 1
    assert_failed_cleanly(deployed, outcome, before, "a mistake")
    assert deployed.world.calls["cancel_instance_refresh"] == 0
    assert [len(group.refreshes) for group in deployed.world.groups.values()] == [2, 2]


def test_groups_are_returned_although_their_images_cannot_be(
    deployed_impatient: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = deployed_impatient.world
    before = world.standing()
    old = set(world.parameters.values())
    world.bad_images = lambda image: image not in old and image.endswith("secure-proxy")
    deployed_impatient.before_task = lambda name: (
        monkeypatch.setattr(world, "put_parameter", lambda _: {}) if name == "RollBack" else None
    )
    outcome = deployed_impatient.run("unhealthy")
    assert outcome.error == "NotRolledBack"
    assert "ImageNotVisibleError" in deployed_impatient.notifications()[0]
    world.pass_time(60)
    after = world.standing()
    assert (after["groups"], after["refreshing"]) == (before["groups"], [])


def test_a_roll_back_is_retried_when_throttled(workflow: Workflow) -> None:
    before = workflow.world.standing()
    fail_in(workflow, "CheckImageBuilds", ZeroDivisionError("a mistake"))
    workflow.clients.faults["cancel_image_creation"].append(service_error("ThrottlingException", "CancelImageCreation"))
    outcome = workflow.run("mistake")
    assert_failed_cleanly(workflow, outcome, before, "a mistake")


def test_a_notification_that_cannot_be_sent_still_ends_in_failed(workflow: Workflow) -> None:
    fail_in(workflow, "StartImageBuilds", ZeroDivisionError("a mistake"))
    workflow.lose_topic()
    outcome = workflow.run("unheard")
    assert outcome.status == "FAILED"
    assert "a mistake" in outcome.cause


def test_a_state_that_times_out_has_no_cause_and_is_told_all_the_same(workflow: Workflow) -> None:
    fail_in(workflow, "CheckImageBuilds", TimeoutError())
    outcome = workflow.run("slow")
    (notification,) = workflow.notifications()
    assert outcome.status == "FAILED"
    assert "TimeoutError" in notification or "States.Timeout" in notification
