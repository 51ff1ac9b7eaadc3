"""Runs the synthesized state machine on moto's executor, its tasks by the handlers that the template names."""

from __future__ import annotations

import importlib
import io
import json
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.parse.preprocessor import Preprocessor

from lambdas.common import clients
from tests.synthesis import REGION, Template
from tests.workflow.clients import WorldClients
from tests.workflow.world import Group, World

_END_WITHIN_SECONDS = 60
_PARSE = AmazonStateLanguageParser.parse


@dataclass(frozen=True)
class Outcome:
    """How an execution ended."""

    status: str
    error: str
    cause: str
    states: list[str]
    waited: float  # seconds that passed in the world


class Workflow:
    """The state machine in a world. `before_task` is called with the name of a function before it runs."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._arns = _arns(template)
        self.world = _world(template, self._arns)
        self.clients = WorldClients(self.world)
        self.before_task: Callable[[str], None] = lambda _: None
        self.after_task: Callable[[str], None] = lambda _: None
        self.on_wait: Callable[[], None] = lambda: None
        self._arn = ""
        self._topic = ""

    @contextmanager
    def installed(self, max_checks: int | None = None) -> Iterator[Workflow]:
        """The state machine on moto, with the world's clock instead of the real one.

        `max_checks` shortens both polls, so that their end is soon reached.
        """
        with ExitStack() as stack:
            stack.enter_context(mock_aws(config={"stepfunctions": {"execute_state_machine": True}}))
            stack.enter_context(mock.patch.object(lambda_eval_utils, "boto_client_for", self._lambda_client))
            stack.enter_context(mock.patch.object(WaitFunction, "_wait_interval", self._wait))
            clock = SimpleNamespace(sleep=self._wait_to_retry)
            stack.enter_context(mock.patch.object(retrier_decl, "time", clock))
            stack.enter_context(mock.patch.object(clients, "client", self.clients.client))
            stack.enter_context(mock.patch.object(AmazonStateLanguageParser, "parse", _parse))
            self._create(max_checks)
            yield self

    def run(self, name: str) -> Outcome:
        """Starts an execution and waits for its end."""
        began = self.world.now
        arn = self.start(name)
        return self.outcome(arn, began)

    def start(self, name: str) -> str:
        """Starts an execution; its ARN."""
        return str(_sfn().start_execution(stateMachineArn=self._arn, name=name, input="{}")["executionArn"])

    def outcome(self, arn: str, began: float = 0) -> Outcome:
        """How the execution ended, once it has."""
        deadline = time.monotonic() + _END_WITHIN_SECONDS
        while (end := _sfn().describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, f"{arn} does not end"
            time.sleep(0.02)
        events = _sfn().get_execution_history(executionArn=arn, maxResults=1000)["events"]
        states = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
        return Outcome(end["status"], end.get("error", ""), end.get("cause", ""), states, self.world.now - began)

    def notifications(self) -> list[str]:
        """What was published to the topic of failures."""
        topic = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[self._topic]
        return [message for _, message, *_ in topic.sent_notifications]

    def lose_topic(self) -> None:
        """Makes notifications impossible."""
        boto3.client("sns", region_name=REGION).delete_topic(TopicArn=self._topic)

    def _create(self, max_checks: int | None) -> None:
        _, machine = self._template.one("AWS::StepFunctions::StateMachine")
        logical_topic, _ = self._template.one("AWS::SNS::Topic", "Failures")
        self._topic = boto3.client("sns", region_name=REGION).create_topic(Name="failures")["TopicArn"]
        definition = self._template.resolve(machine["DefinitionString"])
        for placeholder, arn in {**self._arns, f"<{logical_topic}>": self._topic}.items():
            definition = definition.replace(placeholder, arn)
        if max_checks is not None:
            definition, polls = re.subn(r'"maxChecks":\d+', f'"maxChecks":{max_checks}', definition)
            assert polls == 2
        self._arn = _sfn().create_state_machine(
            name=machine["StateMachineName"],
            definition=definition,
            roleArn=f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/workflow",
        )["stateMachineArn"]

    def _lambda_client(self, **_: Any) -> Any:
        return SimpleNamespace(invoke=self._invoke)

    def _invoke(self, *, FunctionName: str, Payload: Any) -> dict[str, Any]:  # noqa: N803 - AWS Lambda's names
        logical_id = FunctionName.rsplit(":", 1)[1]
        module, function = self._template.resources[logical_id]["Properties"]["Handler"].rsplit(".", 1)
        name = self._template.path(logical_id).split("/")[-2]
        try:
            self.before_task(name)
            result = getattr(importlib.import_module(module), function)(_event(Payload), None)
            self.after_task(name)
        except Exception as error:
            # As AWS Lambda reports it.
            report = {
                "errorMessage": str(error),
                "errorType": type(error).__name__,
                "stackTrace": traceback.format_tb(error.__traceback__),
            }
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(report).encode())}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(result).encode())}

    def _wait(self, _function: Any = None, *, wait_seconds: float, **_: Any) -> None:
        self.on_wait()
        self.world.pass_time(wait_seconds)

    def _wait_to_retry(self, seconds: float) -> None:
        self.world.pass_time(seconds)


def _arns(template: Template) -> dict[str, str]:
    """ARNs as AWS would give them, by the placeholders that `Template.resolve` leaves."""
    forms = {
        "AWS::Lambda::Function": ("<{}.Arn>", "lambda:{region}:{account}:function:{id}"),
        "AWS::ImageBuilder::ImagePipeline": ("<{}.Arn>", "imagebuilder:{region}:{account}:image-pipeline/{name}"),
        "AWS::ElasticLoadBalancingV2::TargetGroup": (
            "<{}>",
            "elasticloadbalancing:{region}:{account}:targetgroup/{name}/0123456789abcdef",
        ),
    }
    arns = {}
    for resource_type, (placeholder, form) in forms.items():
        for logical_id, entry in template.of_type(resource_type).items():
            name = entry["Properties"].get("Name")
            arns[placeholder.format(logical_id)] = "arn:aws:" + form.format(
                region=REGION, account=DEFAULT_ACCOUNT_ID, id=logical_id, name=name
            )
    return arns


def _world(template: Template, arns: Mapping[str, str]) -> World:
    pipelines = {
        arns[f"<{logical_id}.Arn>"]: entry["Properties"]["Name"]
        for logical_id, entry in template.of_type("AWS::ImageBuilder::ImagePipeline").items()
    }
    groups = {}
    for logical_id, entry in template.of_type("AWS::AutoScaling::AutoScalingGroup").items():
        launch_template = entry["Properties"]["LaunchTemplate"]["LaunchTemplateId"]["Ref"]
        data = template.resources[launch_template]["Properties"]["LaunchTemplateData"]
        name = f"<{logical_id}>"
        groups[name] = Group(
            name,
            data["ImageId"].removeprefix("resolve:ssm:"),
            [arns[placeholder] for placeholder in template.resolve(entry["Properties"]["TargetGroupARNs"])],
            minimum=int(entry["Properties"]["MinSize"]),
            maximum=int(entry["Properties"]["MaxSize"]),
            health_check_type=entry["Properties"]["HealthCheckType"],
        )
    return World(pipelines, groups)


def _event(payload: Any) -> Any:
    return json.loads(payload) if isinstance(payload, bytes | str) else json.loads(json.dumps(payload))


def _parse(definition: str) -> Any:
    """As moto parses a definition, but reading the text, which takes a second, once for all tests that share it."""
    return Preprocessor().visit(_syntax_tree(definition)), _syntax_tree(definition)


@cache
def _syntax_tree(definition: str) -> Any:
    return _PARSE(definition)[1]


def _sfn() -> Any:
    return boto3.client("stepfunctions", region_name=REGION)
