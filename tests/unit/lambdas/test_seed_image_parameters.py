"""The custom resource that creates the image parameters, answered to a CloudFormation of our own on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from lambdas import seed_image_parameters
from lambdas.common import clients
from tests.unit.lambdas.arns import ami_parameter
from tests.unit.lambdas.scenario import Call, StubbedClients

BASE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
ONE, TWO = "/p/images/one", "/p/images/two"


class Answers(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AnswerHandler)
        self.received: list[dict[str, Any]] = []


class AnswerHandler(BaseHTTPRequestHandler):
    server: Answers

    def do_PUT(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep test output quiet."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(request_type: str, answers: Answers, calls: list[Call], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    stubs = StubbedClients(calls)
    monkeypatch.setattr(clients, "client", stubs.client)
    monkeypatch.setattr(seed_image_parameters, "_LOOK_EVERY_SECONDS", 0)
    seed_image_parameters.handler(
        {
            "RequestType": request_type,
            "ResponseURL": f"http://127.0.0.1:{answers.server_port}/",
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "logical",
            "ResourceProperties": {"BaseImageParameter": BASE, "ImageParameters": [TWO, ONE]},
        }
    )
    stubs.assert_all_made()
    (answer,) = answers.received
    return answer


def get(names: list[str], *present: str) -> Call:
    found = [ami_parameter(name, "ami-0e0e") for name in present]
    return Call("ssm", "get_parameters", {"Names": names}, {"Parameters": found})


def put(name: str, **outcome: Any) -> Call:
    value = {
        "Name": name,
        "Value": "ami-0e0e",
        "Type": "String",
        "DataType": "aws:ec2:image",
        "Overwrite": False,
    }
    return Call("ssm", "put_parameter", value, **outcome)


ANSWER = {
    "Status": "SUCCESS",
    "PhysicalResourceId": f"{ONE},{TWO}",
    "StackId": "stack",
    "RequestId": "request",
    "LogicalResourceId": "logical",
}
ALL = sorted([ONE, TWO, BASE])


def test_create_puts_the_base_image_and_waits_until_it_shows(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [get(ALL, BASE), put(ONE), put(TWO), get([ONE, TWO], ONE), get([ONE, TWO], ONE, TWO)]
    assert send("Create", answers, calls, monkeypatch) == ANSWER


def test_update_leaves_published_images_alone(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [get(ALL, BASE, ONE, TWO), get([ONE, TWO], ONE, TWO)]
    assert send("Update", answers, calls, monkeypatch) == ANSWER


def test_a_parameter_that_appears_in_between_is_left_alone(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [get(ALL, BASE, ONE), put(TWO, error="ParameterAlreadyExists"), get([ONE, TWO], ONE, TWO)]
    assert send("Create", answers, calls, monkeypatch) == ANSWER


def test_delete_deletes_the_parameters(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [Call("ssm", "delete_parameters", {"Names": [ONE, TWO]})]
    assert send("Delete", answers, calls, monkeypatch) == ANSWER


def test_an_error_becomes_the_reason_in_the_answer(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [get(ALL, BASE, ONE), put(TWO, error="AccessDeniedException")]
    answer = send("Create", answers, calls, monkeypatch)
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("ClientError: An error occurred (AccessDeniedException)")


def test_a_region_without_the_base_image_is_named(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = send("Create", answers, [get(ALL)], monkeypatch)
    assert answer["Status"] == "FAILED"
    assert BASE in answer["Reason"]


def test_a_parameter_that_never_shows_ends_the_wait(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed_image_parameters, "_VISIBLE_WITHIN_SECONDS", -1)
    answer = send("Create", answers, [get(ALL, BASE), put(ONE), put(TWO), get([ONE, TWO], ONE)], monkeypatch)
    assert answer["Status"] == "FAILED"
    assert f"{TWO} was put but did not appear" in answer["Reason"]
