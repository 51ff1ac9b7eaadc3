"""Follows an execution to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from deployment.account import Aws
from deployment.errors import (
    AWS_ERRORS,
    DeploymentError,
    InterruptedByUserError,
    NotStartedError,
    explanation,
    is_denied,
)
from deployment.hints import Hints
from deployment.story import Story, plain_cause
from deployment.waiting import Waiter
from lambdas.common.builds import builds_of, status_of
from lambdas.common.errors import error_code

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient
    from mypy_boto3_stepfunctions.type_defs import DescribeExecutionOutputTypeDef

T = TypeVar("T")

_UNKNOWN = ("ExecutionDoesNotExist", "InvalidArn")


class Follower:
    """Shows one execution state by state."""

    def __init__(self, aws: Aws, waiter: Waiter, hints: Hints) -> None:
        self._aws = aws
        self._sfn: SFNClient = aws.client("stepfunctions")
        self._waiter = waiter
        self._console = waiter.console
        self._hints = hints
        self._last_event = 0
        self._page: str | None = None  # token of the page that the newest events are on
        self._may_ask_builds = True

    def follow(self, execution_arn: str) -> None:
        """Returns when the execution has succeeded.

        Raises `DeploymentError` with the failing state and its cause when it ends otherwise, or when AWS is silent
        for a quarter of an hour; the execution itself goes on whatever happens here. `NotStartedError` when there is
        none.
        """
        try:
            self._follow(execution_arn)
        except KeyboardInterrupt:
            raise InterruptedByUserError(f"interrupted.\n{self._goes_on(execution_arn)}") from None
        finally:
            self._console.settle()

    def _follow(self, arn: str) -> None:
        story: Story | None = None
        while True:
            # Looked at before the history is: when it has ended, the history is complete.
            execution = self._patiently(arn, lambda: self._describe(arn))
            story = story or Story(execution["startDate"])
            for event in self._patiently(arn, lambda: list(self._new_events(arn))):
                for line in story.read(event):
                    self._console.line(line.text, at=line.at)
            if execution["status"] != "RUNNING":
                break
            self._show_status(story)
            self._waiter.sleep(self._waiter.poll)
        self._conclude(execution, story)

    def _describe(self, arn: str) -> DescribeExecutionOutputTypeDef:
        try:
            return self._sfn.describe_execution(executionArn=arn)
        except ClientError as error:
            if error_code(error) in _UNKNOWN:
                raise NotStartedError(f"there is no execution {arn} in {self._aws.region}") from error
            raise

    def _new_events(self, arn: str) -> Iterator[Mapping[str, Any]]:
        while True:
            asked: dict[str, Any] = {"executionArn": arn, "maxResults": 1000}
            if self._page is not None:
                asked["nextToken"] = self._page
            answer = self._sfn.get_execution_history(**asked)
            for event in answer["events"]:
                if event["id"] > self._last_event:
                    self._last_event = event["id"]
                    yield event
            if not answer.get("nextToken"):
                return
            self._page = answer["nextToken"]

    def _show_status(self, story: Story) -> None:
        if not story.state:
            return
        seconds = story.seconds(datetime.now(UTC))
        if story.awaited is None:
            self._console.status(f"{story.state} …", at=seconds)
        else:
            self._console.status(f"waiting for {story.awaited}: {self._awaited(story)}", at=seconds)

    def _awaited(self, story: Story) -> str:
        if story.awaited == "ImageBuilds":
            return self._build_statuses(story.data) or "they are building"
        return story.data.get("health", {}).get("waitingFor") or "the first look"

    def _build_statuses(self, data: Mapping[str, Any]) -> str:
        builds = data.get("images", {}).get("builds", {})
        if not self._may_ask_builds:
            return ""
        try:
            return ", ".join(f"{name} {self._build_status(build)}" for name, build in builds.items())
        except AWS_ERRORS as error:
            # A nicety: what matters is what the workflow says. If the session has expired, the next look tells.
            self._may_ask_builds = not is_denied(error)
            return ""

    def _build_status(self, build: Mapping[str, Any]) -> str:
        summaries = builds_of(self._aws.client("imagebuilder"), build["pipelineArn"])
        return next((status_of(entry) for entry in summaries if entry["arn"] == build["buildArn"]), "PENDING")

    def _patiently(self, arn: str, call: Callable[[], T]) -> T:
        try:
            return self._waiter.patiently(call)
        except AWS_ERRORS as error:
            raise DeploymentError(f"{explanation(error)}.\n{self._goes_on(arn)}") from error

    def _conclude(self, execution: DescribeExecutionOutputTypeDef, story: Story) -> None:
        status = execution["status"]
        if status == "SUCCEEDED":
            return
        where, seen = "", "no cause was given"
        if story.failure is not None:
            where, seen = f" in state {story.failure.state}", f"{story.failure.error}: {story.failure.cause}"
        cause = plain_cause(execution.get("cause") or seen)
        raise DeploymentError(
            f"the deployment {status.lower().replace('_', ' ')}{where}: {cause}\n{self._ways_on(status)}"
        )

    def _ways_on(self, status: str) -> str:
        if status == "FAILED":
            return f"  remove the cause, then run: {self._hints.deploy}"
        # It was ended from outside, and did not come to its roll-back.
        return (
            "  nothing was undone; builds and replacements that it had begun go on. "
            f"Run: {self._hints.deploy}, which says if something must end first"
        )

    def _goes_on(self, arn: str) -> str:
        return (
            "  The execution goes on.\n"
            f"  follow it: {self._hints.follow(arn)}\n"
            f"  stop it:   {self._hints.stop(arn, self._aws.region)}"
        )
