"""AWS as tests state it, time that passes when it is told to, and what the user has been shown."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import boto3
from botocore.client import BaseClient

from deployment.account import Aws, Identity
from deployment.console import Console
from deployment.hints import Hints
from deployment.waiting import Waiter
from stacks.names import STACK
from tests.unit.lambdas.scenario import ACCOUNT, REGION, Call, StubbedClients

IDENTITY = Identity(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/operator")
HINTS = Hints()
STACK_ID = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/1f2e3d4c"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:SecureProxyDeployment"
EXECUTION = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:SecureProxyDeployment:deploy-1"


class StubbedAws(Aws):
    """Real clients whose requests must be the calls that are given, in their order for each service."""

    def __init__(self, calls: Sequence[Call]) -> None:
        super().__init__(boto3.Session(region_name=REGION), REGION)
        self.stubs = StubbedClients(calls)

    def client(self, service: str) -> BaseClient:
        return self.stubs.client(service)


class Screen(Console):
    """A console whose text can be read. The clock stands still until somebody sleeps."""

    def __init__(self, *, live: bool = False) -> None:
        self.stream = io.StringIO()
        self.now = 0.0
        super().__init__(self.stream, live=live, clock=lambda: self.now)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        """What was written, without the times."""
        return [re.sub(r"^ *[0-9:]+  ", "", line) for line in self.text.splitlines()]


def waiter(screen: Screen, on_sleep: Callable[[], None] = lambda: None, *, poll: float = 10.0) -> Waiter:
    """A waiter whose sleep takes no time, and does `on_sleep`."""

    def sleep(seconds: float) -> None:
        screen.now += seconds
        on_sleep()

    return Waiter(screen, poll, sleep=sleep, clock=lambda: screen.now)


def described_stack(status: str, **more: Any) -> dict[str, Any]:
    """DescribeStacks' answer."""
    created = "2026-01-01T10:00:00Z"
    return {
        "Stacks": [{"StackName": STACK, "StackId": STACK_ID, "StackStatus": status, "CreationTime": created, **more}]
    }


def describe_stack(status: str, name: str = STACK, **more: Any) -> Call:
    return Call("cloudformation", "describe_stacks", {"StackName": name}, described_stack(status, **more))


def no_stack(name: str = STACK) -> Call:
    """DescribeStacks for a stack that does not exist, in CloudFormation's words."""
    text = f"Stack with id {name} does not exist"
    return Call("cloudformation", "describe_stacks", {"StackName": name}, error="ValidationError", message=text)
