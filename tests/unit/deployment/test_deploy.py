"""The course of a deployment: in which order, with which parameters, and what is left alone when it cannot start."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from deployment import deploy as module
from deployment.account import Aws
from deployment.deploy import DeployOptions, deploy, follow
from deployment.errors import DeploymentError, InterruptedByUserError, NotStartedError
from deployment.hints import Hints
from tests.unit.deployment.histories import described, told
from tests.unit.deployment.support import EXECUTION, IDENTITY, MACHINE, Screen, StubbedAws, describe_stack, no_stack
from tests.unit.lambdas.scenario import ACCOUNT, Call

OPTIONS = DeployOptions(confirm=False, admitted_cidr="203.0.113.7/32", image_scanning=True, reserved_concurrency=False)
CALLER = Call("sts", "get_caller_identity", {}, {"Account": ACCOUNT, "Arn": IDENTITY.arn, "UserId": "AIDAEXAMPLE"})
VERSION = {"Name": "/cdk-bootstrap/hnb659fds/version"}
MACHINE_NAME = {"Name": "/secure-proxy/workflow/state-machine-arn"}
BOOTSTRAPPED = Call("ssm", "get_parameter", VERSION, {"Parameter": {"Value": "28"}})
NO_WORKFLOW = Call("ssm", "get_parameter", MACHINE_NAME, error="ParameterNotFound")
WORKFLOW = Call("ssm", "get_parameter", MACHINE_NAME, {"Parameter": {"Value": MACHINE}})
HOST = "secure-proxy-elb-public-1.elb.eu-central-1.amazonaws.com"
ENDPOINT = {
    "/secure-proxy/proxy/host": HOST,
    "/secure-proxy/proxy/wss-port": "10000",
    "/secure-proxy/proxy/oauth-port": "11080",
    "/secure-proxy/proxy/issuer": "http://internal.example:10080/awsexample",
}
PUBLISHED = Call(
    "ssm",
    "get_parameters",
    {"Names": list(ENDPOINT)},
    {"Parameters": [{"Name": name, "Value": value} for name, value in ENDPOINT.items()]},
)


def running(*arns: str) -> Call:
    started = "2026-01-01T10:00:00Z"
    entries = [
        {"executionArn": arn, "stateMachineArn": MACHINE, "name": "x", "status": "RUNNING", "startDate": started}
        for arn in arns
    ]
    asked = {"stateMachineArn": MACHINE, "statusFilter": "RUNNING"}
    return Call("stepfunctions", "list_executions", asked, {"executions": entries})


class Run:
    """A deployment with stubbed services and a recorded `cdk deploy`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls: Sequence[Call], *, started: bool = True) -> None:
        self.aws = StubbedAws(calls)
        self.screen = Screen()
        self.deployed: list[dict[str, Any]] = []
        self.started: list[dict[str, Any]] = []
        monkeypatch.setattr(module, "connect", lambda _: self.aws)
        monkeypatch.setattr(module, "check_cli", lambda: None)
        monkeypatch.setattr(module, "deploy_stack", self._deploy_stack)
        if started:
            monkeypatch.setattr(module, "start", self._start)

    def __call__(self, options: DeployOptions = OPTIONS) -> None:
        deploy(options, {}, self.screen)
        self.aws.stubs.assert_all_made()

    def _deploy_stack(self, aws: Aws, **arguments: Any) -> None:
        assert aws is self.aws
        self.deployed.append(arguments)

    def _start(self, _: object, machine: str) -> str:
        self.started.append({"machine": machine})
        return EXECUTION


FIRST_TIME = [CALLER, BOOTSTRAPPED, no_stack(), NO_WORKFLOW]


def test_a_first_deployment_from_the_checks_to_the_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, [*FIRST_TIME, WORKFLOW, described("SUCCEEDED"), told([]), PUBLISHED])
    run()
    ((deployed,), (started,)) = run.deployed, run.started
    assert deployed["parameters"] == {
        "AdmittedCidr": "203.0.113.7/32",
        "ImageScanning": "true",
        "ReservedConcurrency": "false",
    }
    assert started == {"machine": MACHINE}
    lines = run.screen.lines
    assert f"State Machine Arn: {MACHINE}" in lines
    assert f"State Machine Execution Arn: {EXECUTION}" in lines
    assert f"  wss    wss://{HOST}:10000/" in lines
    assert "  next: bash execute_e2e_tests.sh     and, to remove it: bash destroy.sh" in lines


def test_an_update_leaves_the_admitted_addresses_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = describe_stack(
        "UPDATE_COMPLETE", Parameters=[{"ParameterKey": "AdmittedCidr", "ParameterValue": "198.51.100.0/24"}]
    )
    run = Run(monkeypatch, [CALLER, BOOTSTRAPPED, stack, NO_WORKFLOW, WORKFLOW])
    run(replace(OPTIONS, admitted_cidr=None, wait=False))
    assert run.deployed[0]["parameters"]["AdmittedCidr"] == "198.51.100.0/24"
    (line,) = (line for line in run.screen.lines if line.startswith("public ports admit"))
    assert line.startswith("public ports admit 198.51.100.0/24 (as before; --admitted-cidr CIDR changes it")


def test_the_placeholder_address_is_told_to_mean_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, [*FIRST_TIME, WORKFLOW])
    run(replace(OPTIONS, wait=False))
    assert any(line.startswith("nobody will be told about failures: imagebuilder.") for line in run.screen.lines)


def test_without_waiting_it_leaves_once_the_workflow_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, [*FIRST_TIME, WORKFLOW])
    run(replace(OPTIONS, wait=False))
    assert run.screen.lines[-1] == f"  not waited for; follow it: bash deploy.sh --follow {EXECUTION}"


def test_the_execution_has_a_name_so_that_a_request_sent_twice_starts_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployment.execution.secrets.token_hex", lambda _: "0badcafe")
    monkeypatch.setattr("deployment.execution.time.strftime", lambda *_: "20260101T100000Z")
    name = "deploy-20260101T100000Z-0badcafe"
    asked = {"stateMachineArn": MACHINE, "name": name, "input": json.dumps({})}
    answer = {"executionArn": EXECUTION, "startDate": "2026-01-01T10:00:00Z"}
    calls = [*FIRST_TIME, WORKFLOW, Call("stepfunctions", "start_execution", asked, answer)]
    Run(monkeypatch, calls, started=False)(replace(OPTIONS, wait=False))


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ([CALLER, Call("ssm", "get_parameter", VERSION, error="ParameterNotFound")], "&& cdk bootstrap"),
        ([CALLER, BOOTSTRAPPED, describe_stack("UPDATE_IN_PROGRESS")], "somebody works on it"),
        ([CALLER, Call("ssm", "get_parameter", VERSION, error="AccessDeniedException")], "do not permit"),
        ([CALLER, BOOTSTRAPPED, describe_stack("CREATE_COMPLETE"), WORKFLOW, running(EXECUTION)], "is under way"),
    ],
    ids=["not bootstrapped", "stack in progress", "denied", "running"],
)
def test_what_stands_against_it_is_found_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch, calls: Sequence[Call], words: str
) -> None:
    run = Run(monkeypatch, calls)
    with pytest.raises(NotStartedError, match=words):
        run()
    assert (run.deployed, run.started) == ([], [])


RUNNING = [CALLER, BOOTSTRAPPED, describe_stack("CREATE_COMPLETE"), WORKFLOW, running(EXECUTION)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())


@pytest.mark.usefixtures("terminal")
def test_a_running_deployment_is_followed_when_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, [*RUNNING, described("SUCCEEDED"), told([]), PUBLISHED])
    monkeypatch.setattr("builtins.input", lambda _: "y")
    run(replace(OPTIONS, confirm=True))
    assert (run.deployed, run.started) == ([], [])


@pytest.mark.usefixtures("terminal")
def test_a_running_deployment_is_left_alone_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "")
    with pytest.raises(NotStartedError, match=f"follow it: bash deploy.sh --follow {EXECUTION}"):
        Run(monkeypatch, RUNNING)(replace(OPTIONS, confirm=True))


def test_without_a_terminal_there_is_nobody_to_confirm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    run = Run(monkeypatch, [])
    with pytest.raises(NotStartedError, match="pass --yes"):
        run(replace(OPTIONS, confirm=True))
    assert run.deployed == []


def test_a_stack_without_its_parameter_is_an_error_after_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, [*FIRST_TIME, NO_WORKFLOW])
    with pytest.raises(DeploymentError, match="has no parameter /secure-proxy/workflow/state-machine-arn"):
        run()


def test_following_later_ends_with_the_endpoints_too(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, [CALLER, described("SUCCEEDED"), told([]), PUBLISHED])
    follow(EXECUTION, OPTIONS, {}, run.screen)
    run.aws.stubs.assert_all_made()
    assert f"  wss    wss://{HOST}:10000/" in run.screen.lines
    assert run.deployed == []


FAILED = Call(
    "stepfunctions",
    "describe_execution",
    {"executionArn": EXECUTION},
    {**described("FAILED").answer, "cause": "no capacity"},
)


@pytest.mark.parametrize(
    ("ended", "words"),
    [(described("SUCCEEDED"), "is followed first"), (FAILED, "the deployment failed: no capacity")],
    ids=["succeeded", "failed"],
)
def test_when_asked_to_it_deploys_once_the_execution_that_runs_has_ended(
    monkeypatch: pytest.MonkeyPatch, ended: Call, words: str
) -> None:
    run = Run(monkeypatch, [*RUNNING, ended, told([]), WORKFLOW, described("SUCCEEDED"), told([]), PUBLISHED])
    run(replace(OPTIONS, after_running=True))
    assert (len(run.deployed), len(run.started)) == (1, 1)
    assert words in run.screen.text


def test_ctrl_c_while_it_follows_first_deploys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deployment.follow.Follower._describe", interrupt)
    run = Run(monkeypatch, RUNNING)
    with pytest.raises(InterruptedByUserError, match="The execution goes on"):
        run(replace(OPTIONS, after_running=True))
    assert (run.deployed, run.started) == ([], [])


def test_without_a_running_execution_there_is_nothing_to_follow_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, [*FIRST_TIME, WORKFLOW, described("SUCCEEDED"), told([]), PUBLISHED])
    run(replace(OPTIONS, after_running=True))
    assert len(run.deployed) == 1


def test_messages_name_the_commands_as_the_user_must_call_them() -> None:
    hints = Hints("--local --name x")
    assert hints.verify == "bash execute_e2e_tests.sh --local --name x"
    assert hints.destroy == "bash destroy.sh --local --name x"


@pytest.mark.parametrize("options", ["--local", "--local --name x"])
def test_no_message_about_a_local_deployment_names_a_command_for_an_account(options: str) -> None:
    hints = Hints(options)
    named = [
        *(hints.follow("arn:x"), hints.stop("arn:x", "eu-central-1"), hints.stack_events("eu-central-1")),
        *(hints.cancel_update("eu-central-1"), hints.continue_rollback("eu-central-1")),
        *hints.bootstrap("123456789012", "eu-central-1").split(" && "),
    ]
    name = options.removeprefix("--local")
    known = {
        f"bash deploy.sh {options}",
        f"bash destroy.sh {options}",
        f".venv/bin/python -m local logs endpoint{name}",
    }
    assert set(named) == known
