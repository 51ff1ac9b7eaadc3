"""What is looked at before anything starts: bootstrap, stack, quotas, addresses, settings."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from deployment.admitted import admitted_cidr, detect_address
from deployment.bootstrap import check_bootstrapped
from deployment.errors import NotStartedError
from deployment.facilities import image_scanning, reserved_concurrency
from deployment.settings import settings_with
from deployment.stack import Stack, check_deployable, find_stack
from stacks.settings import ExternalIp
from tests.unit.deployment.support import HINTS, IDENTITY, STACK_ID, StubbedAws, describe_stack, no_stack
from tests.unit.lambdas.scenario import ACCOUNT, Call

BOOTSTRAP = {"Name": "/cdk-bootstrap/hnb659fds/version"}


def stack(status: str, **parameters: str) -> Stack:
    return Stack(STACK_ID, status, "", parameters, {})


def event(resource: str, status: str, reason: str = "", kind: str = "AWS::Lambda::Function") -> dict[str, Any]:
    return {
        "StackId": STACK_ID,
        "EventId": f"{resource}-{status}",
        "StackName": "EC2ImageBuilderSecureProxy",
        "LogicalResourceId": resource,
        "ResourceType": kind,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
        "Timestamp": "2026-01-01T10:00:00Z",
    }


def events(*entries: dict[str, Any]) -> Call:
    return Call("cloudformation", "describe_stack_events", {"StackName": STACK_ID}, {"StackEvents": list(entries)})


def test_the_version_of_the_bootstrap_resources() -> None:
    aws = StubbedAws([Call("ssm", "get_parameter", BOOTSTRAP, {"Parameter": {"Value": "28"}})])
    assert check_bootstrapped(aws, IDENTITY, HINTS) == "28"
    aws.stubs.assert_all_made()


def test_an_account_that_is_not_bootstrapped_gets_the_command() -> None:
    aws = StubbedAws([Call("ssm", "get_parameter", BOOTSTRAP, error="ParameterNotFound")])
    with pytest.raises(
        NotStartedError, match=f"Run once: source .venv/bin/activate && cdk bootstrap aws://{ACCOUNT}/eu-central-1$"
    ):
        check_bootstrapped(aws, IDENTITY, HINTS)


def test_no_stack_is_none() -> None:
    assert find_stack(StubbedAws([no_stack()])) is None


def test_a_stack_that_was_deleted_is_none() -> None:
    assert find_stack(StubbedAws([describe_stack("DELETE_COMPLETE")])) is None


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_stacks_that_can_be_updated(status: str) -> None:
    check_deployable(stack(status), StubbedAws([]), HINTS)


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS"])
def test_a_stack_whose_creation_failed_must_be_removed_and_the_first_cause_is_told(status: str) -> None:
    newest_first = [
        event("EC2ImageBuilderSecureProxy", status, kind="AWS::CloudFormation::Stack"),
        event("Check", "CREATE_FAILED", "quota exceeded"),
        event("Other", "CREATE_FAILED", "Resource creation cancelled"),
        event("EC2ImageBuilderSecureProxy", "CREATE_IN_PROGRESS", kind="AWS::CloudFormation::Stack"),
        event("Earlier", "CREATE_FAILED", "of another time"),
    ]
    with pytest.raises(NotStartedError) as refused:
        check_deployable(stack(status), StubbedAws([events(*newest_first)]), HINTS)
    text = str(refused.value)
    assert f"is in state {status}" in text
    assert "It began with Check (AWS::Lambda::Function): quota exceeded." in text
    assert "Run: bash destroy.sh; then deploy again" in text


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("DELETE_FAILED", "Finish removing it: bash destroy.sh"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name EC2ImageBuilderSecureProxy"),
        ("UPDATE_IN_PROGRESS", "Wait until that has ended"),
        ("DELETE_IN_PROGRESS", "Wait until that has ended"),
    ],
)
def test_other_states_that_no_deployment_starts_from(status: str, remedy: str) -> None:
    with pytest.raises(NotStartedError, match=remedy):
        check_deployable(stack(status), StubbedAws([]), HINTS)


def quota(total: int, free: int) -> Call:
    limits = {"ConcurrentExecutions": total, "UnreservedConcurrentExecutions": free}
    return Call("lambda", "get_account_settings", {}, {"AccountLimit": limits})


@pytest.mark.parametrize(("free", "on"), [(1000, True), (110, True), (109, False), (10, False)])
def test_concurrency_is_reserved_when_a_hundred_executions_stay_free(free: int, on: bool) -> None:
    aws = StubbedAws([quota(1000, free)])
    assert reserved_concurrency(None, aws, None).on is on
    aws.stubs.assert_all_made()


def test_concurrency_that_is_reserved_already_stays_so_without_asking() -> None:
    choice = reserved_concurrency(None, StubbedAws([]), stack("CREATE_COMPLETE", ReservedConcurrency="true"))
    assert choice.parameter == "true"


def inspector(status: str) -> Call:
    state = {"status": status, "errorCode": "ALREADY_ENABLED", "errorMessage": "none"}
    account = {
        "accountId": ACCOUNT,
        "state": state,
        "resourceState": {"ec2": state, "ecr": {**state, "status": "ENABLED"}},
    }
    return Call("inspector2", "batch_get_account_status", {"accountIds": [ACCOUNT]}, {"accounts": [account]})


@pytest.mark.parametrize(("status", "on"), [("ENABLED", True), ("DISABLED", False), ("SUSPENDED", False)])
def test_images_are_scanned_where_inspector_is_switched_on_for_ec2(status: str, on: bool) -> None:
    aws = StubbedAws([inspector(status)])
    assert image_scanning(None, aws, IDENTITY).on is on
    aws.stubs.assert_all_made()


def test_what_may_not_be_asked_is_off_and_says_how_to_switch_it_on() -> None:
    denied = [
        Call("lambda", "get_account_settings", {}, error="AccessDeniedException", status=403),
        Call("inspector2", "batch_get_account_status", {"accountIds": [ACCOUNT]}, error="AccessDeniedException"),
    ]
    aws = StubbedAws(denied)
    concurrency, scanning = reserved_concurrency(None, aws, None), image_scanning(None, aws, IDENTITY)
    assert (concurrency.on, scanning.on) == (False, False)
    assert "--reserved-concurrency switches it on" in str(concurrency)
    assert "--image-scanning switches it on" in str(scanning)


@pytest.mark.parametrize("chosen", [True, False])
def test_what_is_asked_for_is_not_looked_up(chosen: bool) -> None:
    aws = StubbedAws([])
    assert reserved_concurrency(chosen, aws, None).on is chosen
    assert image_scanning(chosen, aws, IDENTITY).on is chosen


class Detector(HTTPServer):
    """Answers every request with `answer`."""

    answer = (200, b"")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Detector

    def do_GET(self) -> None:
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def detector() -> Iterator[Detector]:
    with Detector(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_detected_address_is_admitted_alone(detector: Detector) -> None:
    detector.answer = (200, b"203.0.114.7\n")
    assert admitted_cidr(None, ExternalIp(), None, detector.url) == ("203.0.114.7/32", "this machine's address")


@pytest.mark.parametrize(
    "answer",
    [(200, b"<html>sign in</html>"), (200, b"2001:db8::1"), (200, b"10.0.0.5"), (200, b""), (503, b"203.0.114.7")],
)
def test_what_is_no_public_address_is_refused(detector: Detector, answer: tuple[int, bytes]) -> None:
    detector.answer = answer
    with pytest.raises(NotStartedError, match="--admitted-cidr"):
        detect_address(detector.url)


def test_a_detector_that_cannot_be_reached_is_named_with_the_remedy() -> None:
    with pytest.raises(NotStartedError, match=r"http://127\.0\.0\.1:1/.*--admitted-cidr"):
        detect_address("http://127.0.0.1:1/")


def test_what_the_command_line_admits_is_taken_without_asking() -> None:
    assert admitted_cidr("198.51.100.0/24", ExternalIp(), "192.0.2.1/32", "http://127.0.0.1:1/")[0] == "198.51.100.0/24"


def test_an_update_keeps_what_is_admitted_whatever_machine_it_runs_on() -> None:
    """A CI runner's address must not take the place of the clients'."""
    cidr, why = admitted_cidr(None, ExternalIp(), "198.51.100.0/24", "http://127.0.0.1:1/")
    assert cidr == "198.51.100.0/24"
    assert "as before" in why
    assert "--admitted-cidr" in why


def test_an_update_admits_this_machine_when_it_is_told_to(detector: Detector) -> None:
    detector.answer = (200, b"203.0.114.7")
    assert admitted_cidr("detect", ExternalIp(), "198.51.100.0/24", detector.url)[0] == "203.0.114.7/32"


@pytest.mark.parametrize("proxy", ["socks5h://127.0.0.1:1", "gopher://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(NotStartedError, match=r"cannot be detected: .*--admitted-cidr"):
        detect_address("http://checkip.example/")


def test_without_detection_the_setting_is_admitted_as_a_block() -> None:
    fixed = settings_with(
        ["projectSettings.externalIp.autoDetect=false", "projectSettings.externalIp.iPAddress=8.8.8.8"]
    )
    assert admitted_cidr(None, fixed.external_ip, "192.0.2.1/32", "http://127.0.0.1:1/")[0] == "8.8.8.8/32"


def test_an_invalid_e_mail_address_is_named_with_its_key() -> None:
    with pytest.raises(NotStartedError, match=r"imageBuilderEmailAddress: .*is not an e-mail address"):
        settings_with(["projectSettings.imagebuilder.imageBuilderEmailAddress=nobody"])


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("nginxbuild", "did you mean nginxBuild?"),
        ("proxySettings.bridge", "did you mean projectSettings.proxySettings.bridge?"),
        (
            "projectsettings.proxySettings.bridge",
            "allowed: nginxBuild, sourceBaseUrl, mockRuntime and projectSettings.",
        ),
    ],
)
def test_a_context_key_that_nobody_reads_is_refused(key: str, hint: str) -> None:
    with pytest.raises(NotStartedError, match=rf"context\.{re.escape(key)}: is not a known key") as refused:
        settings_with([f"{key}=lua"])
    assert hint in str(refused.value)


@pytest.mark.parametrize(
    "entry",
    [
        "nginxBuild=distribution",
        "sourceBaseUrl=https://git.company.com",
        "mockRuntime=native",
        "projectSettings.proxySettings.bridge=lua",
        "@aws-cdk/core:stackRelativeExports=true",
        "aws:cdk:enable-path-metadata=true",
    ],
)
def test_context_of_ours_and_of_the_cdk_is_accepted(entry: str) -> None:
    settings_with([entry])
