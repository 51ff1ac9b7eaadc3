"""Following an execution: what is shown, and what is said when it ends, fails or is lost sight of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, UnauthorizedSSOTokenError

from deployment.errors import DeploymentError, InterruptedByUserError, NotStartedError
from deployment.follow import Follower
from tests.unit.deployment.histories import History, described, told
from tests.unit.deployment.support import EXECUTION, HINTS, Screen, StubbedAws, waiter
from tests.unit.lambdas.scenario import ACCOUNT, REGION, Call

FOLLOW_AGAIN = f"follow it: bash deploy.sh --follow {EXECUTION}"
STOP = f"stop it:   aws stepfunctions stop-execution --execution-arn {EXECUTION} --region {REGION}"
PIPELINE = f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image-pipeline/secure-proxy"
BUILD = f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image/secure-proxy/1.0.7/1"
BUILDS = {"images": {"builds": {"secureProxy": {"pipelineArn": PIPELINE, "buildArn": BUILD}}}}


def nothing() -> None:
    pass


class Watch:
    """An execution that is followed by `calls`."""

    def __init__(self, *calls: Call, on_sleep: Callable[[], None] = nothing) -> None:
        self.screen = Screen()
        self.aws = StubbedAws(calls)
        self.follower = Follower(self.aws, waiter(self.screen, on_sleep), HINTS)

    def run(self) -> list[str]:
        self.follower.follow(EXECUTION)
        self.aws.stubs.assert_all_made()
        return self.screen.lines

    def failure(self, kind: type[DeploymentError] = DeploymentError) -> str:
        with pytest.raises(kind) as failed:
            self.follower.follow(EXECUTION)
        self.aws.stubs.assert_all_made()
        return str(failed.value)


def status_of_build(status: str) -> Call:
    summary = {"arn": BUILD, "name": "secure-proxy", "version": "1.0.7/1", "state": {"status": status}}
    asked = {"imagePipelineArn": PIPELINE}
    return Call("imagebuilder", "list_image_pipeline_images", asked, {"imageSummaryList": [summary]})


def test_one_line_a_state_and_one_for_all_looks() -> None:
    history = History()
    history.add(0, "ExecutionStarted")
    history.enter(0, "NewDeployment", "Pass")
    history.leave(0, "NewDeployment", "Pass")
    history.task(0, 1.5, "BeginDeployment")
    history.wait(2, 17, "ImageBuilds", BUILDS)
    history.look(17, "ImageBuilds", BUILDS)
    history.wait(18, 33, "ImageBuilds", BUILDS)
    history.look(33, "ImageBuilds", BUILDS)
    history.task(34, 36, "PublishImages")
    history.wait(36, 51, "Health")
    history.look(51, "Health")
    history.enter(52, "Succeed", "Succeed")
    history.leave(52, "Succeed", "Succeed")
    history.add(52, "ExecutionSucceeded")
    shown = Watch(described("SUCCEEDED"), told(history.events)).run()
    assert shown == [
        "BeginDeployment            1.5 s",
        "ImageBuilds               32.0 s, 2 looks",
        "PublishImages              2.0 s",
        "Health                    16.0 s, 1 look",
    ]


def test_times_are_those_of_the_execution() -> None:
    history = History()
    history.task(3600, 3661, "PublishImages")
    watch = Watch(described("SUCCEEDED"), told(history.events))
    watch.run()
    assert watch.screen.text.startswith(" 1:01:01  PublishImages")


def test_what_is_awaited_is_a_line_whenever_it_changes_and_not_otherwise() -> None:
    history = History()
    history.wait(2, 17, "ImageBuilds", BUILDS)
    history.look(17, "ImageBuilds", BUILDS)
    history.enter(18, "WaitForImageBuilds", "Wait", BUILDS)
    calls = [call for _ in range(3) for call in (described("RUNNING"), told(history.events))]
    statuses = [status_of_build("BUILDING"), status_of_build("BUILDING"), status_of_build("TESTING")]
    shown = Watch(*calls, *statuses, described("SUCCEEDED"), told(history.events)).run()
    assert shown == ["waiting for ImageBuilds: secureProxy BUILDING", "waiting for ImageBuilds: secureProxy TESTING"]


def test_a_wait_without_change_gives_a_sign_of_life_once_a_minute() -> None:
    history = History()
    history.enter(0, "WaitForHealth", "Wait", {"health": {"waitingFor": "wss has 1 healthy targets of 2"}})
    calls = [call for _ in range(7) for call in (described("RUNNING"), told(history.events))]
    shown = Watch(*calls, described("SUCCEEDED"), told(history.events)).run()
    assert shown == ["waiting for Health: wss has 1 healthy targets of 2"] * 2


def test_without_leave_to_ask_image_builder_the_builds_are_just_awaited() -> None:
    history = History()
    history.enter(0, "WaitForImageBuilds", "Wait", BUILDS)
    denied = Call("imagebuilder", "list_image_pipeline_images", {"imagePipelineArn": PIPELINE}, error="AccessDenied")
    calls = [call for _ in range(2) for call in (described("RUNNING"), told(history.events))]
    unasked = status_of_build("TESTING")
    watch = Watch(*calls, denied, unasked, described("SUCCEEDED"), told(history.events))
    watch.follower.follow(EXECUTION)
    assert watch.screen.lines == ["waiting for ImageBuilds: they are building"]


def test_a_history_of_several_pages_is_read_once() -> None:
    history = History()
    history.task(0, 1, "BeginDeployment")
    history.task(1, 2, "StartImageBuilds")
    history.task(2, 3, "PublishImages")
    first, second = history.events[:4], history.events[4:]
    shown = Watch(
        described("RUNNING"),
        told(first, next_token="2"),
        told(second[:5], token="2"),
        described("SUCCEEDED"),
        told(second, token="2"),
    ).run()
    assert shown == [
        "BeginDeployment            1.0 s",
        "StartImageBuilds           1.0 s",
        "PublishImages …",
        "PublishImages              1.0 s",
    ]


def test_a_retry_is_told_and_is_no_failure() -> None:
    history = History()
    history.enter(0, "PublishImages")
    history.add(0, "LambdaFunctionScheduled")
    history.fail(1, "TransientServiceError", "Rate exceeded")
    history.add(3, "LambdaFunctionScheduled")
    history.add(4, "LambdaFunctionSucceeded")
    history.leave(4, "PublishImages")
    shown = Watch(described("SUCCEEDED"), told(history.events)).run()
    assert shown == [
        "PublishImages: trying again after TransientServiceError: Rate exceeded",
        "PublishImages              4.0 s",
    ]


def test_a_roll_back_that_fails_too_does_not_hide_the_cause() -> None:
    history = History()
    for at, state in enumerate(("PublishImages", "RollBack")):
        history.enter(at, state)
        history.fail(at, f"{state}Error", "broken")
        history.leave(at, state)
    text = Watch(described("FAILED"), told(history.events)).failure()
    assert text.startswith("the deployment failed in state PublishImages: PublishImagesError: broken\n")


def failed_history() -> list[dict[str, Any]]:
    history = History()
    history.wait(0, 15, "ImageBuilds", BUILDS)
    history.enter(15, "CheckImageBuilds")
    history.fail(16, "ImageBuildFailedError", "image secureProxy is FAILED: step NginxTest")
    history.leave(16, "CheckImageBuilds")
    history.task(16, 18, "RollBack")
    history.task(18, 19, "NotifyFailure")
    history.enter(19, "Failed", "Fail")
    history.add(19, "ExecutionFailed", executionFailedEventDetails={"error": "ImageBuildFailedError", "cause": "…"})
    return history.events


def test_a_failure_names_the_state_and_its_cause() -> None:
    cause = "ImageBuildFailedError: image secureProxy is FAILED: step NginxTest\nUndone: nothing had to be"
    watch = Watch(described("FAILED", error="ImageBuildFailedError", cause=cause), told(failed_history()))
    text = watch.failure()
    assert text == (
        f"the deployment failed in state CheckImageBuilds: {cause}\n  remove the cause, then run: bash deploy.sh"
    )
    assert watch.screen.lines[0] == (
        "FAILED  CheckImageBuilds: ImageBuildFailedError: image secureProxy is FAILED: step NginxTest"
    )


@pytest.mark.parametrize(("status", "words"), [("TIMED_OUT", "timed out"), ("ABORTED", "aborted")])
def test_other_ends_are_failures_too(status: str, words: str) -> None:
    text = Watch(described(status), told([])).failure()
    assert text == (
        f"the deployment {words}: no cause was given\n"
        "  nothing was undone; builds and replacements that it had begun go on. Run: bash deploy.sh, which says if "
        "something must end first"
    )


def test_an_execution_that_does_not_exist_was_never_followed() -> None:
    asked = {"executionArn": EXECUTION}
    missing = Call("stepfunctions", "describe_execution", asked, error="ExecutionDoesNotExist")
    assert f"there is no execution {EXECUTION}" in Watch(missing).failure(NotStartedError)


def test_ctrl_c_says_that_the_execution_goes_on() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    watch = Watch(described("RUNNING"), told([]), on_sleep=interrupt)
    text = watch.failure(InterruptedByUserError)
    assert "The execution goes on." in text
    assert FOLLOW_AGAIN in text
    assert STOP in text
    assert InterruptedByUserError.exit_code == 130


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
def test_an_expired_session_says_how_to_resume(code: str) -> None:
    asked = {"executionArn": EXECUTION}
    expired = Call("stepfunctions", "describe_execution", asked, error=code, status=403)
    text = Watch(described("RUNNING"), told([]), expired).failure()
    assert "the AWS session has expired" in text
    assert "aws sso login" in text
    assert FOLLOW_AGAIN in text


@pytest.mark.parametrize(
    ("code", "status"), [("ThrottlingException", 400), ("InternalFailure", 500), ("ServiceUnavailable", 503)]
)
def test_throttling_and_trouble_at_aws_are_waited_out(code: str, status: int) -> None:
    asked = {"executionArn": EXECUTION}
    trouble = Call("stepfunctions", "describe_execution", asked, error=code, status=status)
    shown = Watch(trouble, trouble, described("SUCCEEDED"), told([])).run()
    assert len(shown) == 2
    assert all(line.startswith("no answer, trying again: ") for line in shown)


def test_a_denied_call_is_not_tried_again() -> None:
    asked = {"executionArn": EXECUTION}
    denied = Call("stepfunctions", "describe_execution", asked, error="AccessDeniedException", status=400)
    text = Watch(denied).failure()
    assert "do not permit" in text
    assert FOLLOW_AGAIN in text


class Lost(StubbedAws):
    """AWS that answers every request with the same exception."""

    def __init__(self, error: Exception) -> None:
        super().__init__([])
        self._error = error

    def client(self, service: str) -> Any:
        assert service == "stepfunctions"
        return self

    def describe_execution(self, **_: object) -> None:
        raise self._error


def test_contact_that_stays_lost_ends_after_a_quarter_of_an_hour() -> None:
    screen = Screen()
    follower = Follower(Lost(EndpointConnectionError(endpoint_url="https://states.example")), waiter(screen), HINTS)
    with pytest.raises(DeploymentError, match="cannot be reached") as lost:
        follower.follow(EXECUTION)
    assert FOLLOW_AGAIN in str(lost.value)
    assert 900 <= screen.now < 1000


def test_an_sso_session_that_ends_says_how_to_resume() -> None:
    follower = Follower(Lost(UnauthorizedSSOTokenError()), waiter(Screen()), HINTS)
    with pytest.raises(DeploymentError, match="aws sso login") as expired:
        follower.follow(EXECUTION)
    assert FOLLOW_AGAIN in str(expired.value)
