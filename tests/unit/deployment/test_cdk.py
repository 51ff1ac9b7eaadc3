"""The CDK CLI: what it is asked, and what is said when it fails or is interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment import cdk
from deployment.errors import DeploymentError, InterruptedByUserError, NotStartedError
from stacks.names import STACK
from tests.unit.deployment.support import HINTS, STACK_ID, StubbedAws, describe_stack, no_stack
from tests.unit.lambdas.scenario import REGION, Call

PARAMETERS = {"AdmittedCidr": "203.0.113.7/32", "ImageScanning": "false"}


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the CDK CLI, where a test puts a program of its own."""
    place = tmp_path / "cdk"
    monkeypatch.setattr(cdk, "_OURS", place)
    return place


@pytest.fixture
def interrupts() -> Iterator[None]:
    """What the code does to Ctrl-C ends with the test."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def program(place: Path, text: str) -> None:
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)


def deploy(*calls: Call, confirm: bool = False) -> None:
    aws = StubbedAws(calls)
    cdk.deploy_stack(aws, parameters=PARAMETERS, context=["nginxBuild=source"], confirm=confirm, hints=HINTS)
    aws.stubs.assert_all_made()


def test_the_cli_is_given_every_parameter_and_the_context(cli: Path, tmp_path: Path) -> None:
    program(cli, f'printf "%s\\n" "$@" >{tmp_path}/words')
    deploy()
    words = (tmp_path / "words").read_text().split("\n")[:-1]
    assembly = words.pop(words.index("--output") + 1)
    assert words == [
        "deploy", STACK, "--method", "direct", "--output", "--require-approval", "never", "--no-notices",
        "--context", "nginxBuild=source",
        "--parameters", f"{STACK}:AdmittedCidr=203.0.113.7/32",
        "--parameters", f"{STACK}:ImageScanning=false",
    ]  # fmt: skip
    assert not Path(assembly).exists()
    assert not Path(assembly).is_relative_to(cdk.ROOT)


@pytest.mark.parametrize(("confirm", "approval"), [(True, "broadening"), (False, "never")])
def test_the_cli_asks_before_it_widens_permissions_unless_told_not_to(
    cli: Path, tmp_path: Path, confirm: bool, approval: str
) -> None:
    program(cli, f'printf "%s " "$@" >{tmp_path}/words')
    deploy(confirm=confirm)
    assert f"--require-approval {approval} " in (tmp_path / "words").read_text()


def test_the_cli_works_in_one_region_with_our_python(
    cli: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CDK_DEFAULT_REGION", raising=False)
    program(cli, f'echo "$AWS_REGION $AWS_DEFAULT_REGION $CDK_DEFAULT_REGION" >{tmp_path}/regions\n'
                 f"command -v python3 >{tmp_path}/python\npwd >{tmp_path}/directory")  # fmt: skip
    deploy()
    assert (tmp_path / "regions").read_text().split() == [REGION] * 3
    assert Path((tmp_path / "python").read_text().strip()).parent == Path(sys.executable).parent
    assert (tmp_path / "directory").read_text().strip() == str(cdk.ROOT)


def test_a_failure_tells_the_state_of_the_stack_and_where_it_began(cli: Path) -> None:
    program(cli, "exit 3")
    failed = {
        "StackId": STACK_ID, "EventId": "1", "StackName": STACK, "LogicalResourceId": "Vpc",
        "ResourceType": "AWS::EC2::VPC", "ResourceStatus": "CREATE_FAILED",
        "ResourceStatusReason": "The maximum number of VPCs has been reached.", "Timestamp": "2026-01-01T10:00:00Z",
    }  # fmt: skip
    events = Call("cloudformation", "describe_stack_events", {"StackName": STACK_ID}, {"StackEvents": [failed]})
    with pytest.raises(DeploymentError) as refused:
        deploy(describe_stack("ROLLBACK_COMPLETE"), events)
    text = str(refused.value)
    assert "exit code 3" in text
    assert "the stack is in state ROLLBACK_COMPLETE" in text
    assert "it began with Vpc (AWS::EC2::VPC): The maximum number of VPCs has been reached." in text
    assert refused.value.exit_code == 1


def test_a_failure_before_there_is_a_stack(cli: Path) -> None:
    program(cli, "exit 1")
    with pytest.raises(DeploymentError, match="there is no stack"):
        deploy(no_stack())


@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_says_that_cloudformation_goes_on_and_ends_the_cli(cli: Path, tmp_path: Path) -> None:
    trap = f'trap "echo ended >{tmp_path}/end; exit 1" TERM'
    program(cli, f"{trap}\nsleep 0.5; kill -INT $PPID\nfor i in $(seq 600); do sleep 0.05; done")
    with pytest.raises(InterruptedByUserError) as interrupted:
        deploy()
    text = str(interrupted.value)
    assert "CloudFormation carries on" in text
    assert f"aws cloudformation describe-stack-events --stack-name {STACK} --region {REGION}" in text
    assert f"aws cloudformation cancel-update-stack --stack-name {STACK} --region {REGION}" in text
    assert "bash destroy.sh" in text
    assert interrupted.value.exit_code == 130
    assert (tmp_path / "end").exists()


def test_without_the_cli_nothing_is_started(cli: Path) -> None:
    with pytest.raises(NotStartedError, match="the CDK CLI is missing"):
        deploy()
