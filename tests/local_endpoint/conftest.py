"""The endpoint, started once, with the stack on it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.endpoint.account import ACCOUNT, REGION, environment
from stacks.names import ADMITTED_CIDR, STACK
from tests.local_endpoint.inventory import inventory
from tests.ports import free_port
from tests.synthesis import REPOSITORY, synthesize

ADMITTED = "127.0.0.0/8"
BUCKET = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"  # of the CDK's own stack
_CDK = REPOSITORY / "node_modules/.bin/cdk"
_CONTEXT = {
    "nginxBuild": "distribution",
    "mockRuntime": "native",
    "projectSettings.proxySettings.authentication.provider": "external",
}


@dataclass(frozen=True)
class Account:
    """The endpoint's account, as boto3 and the CDK CLI reach it. `assembly` is the synthesized app."""

    port: int
    assembly: Path

    def client(self, service: str) -> Any:
        """boto3's client."""
        return boto3.client(  # type: ignore[call-overload]
            service, "eu-central-1", endpoint_url=f"http://localhost:{self.port}",
            aws_access_key_id="local", aws_secret_access_key="local",
        )  # fmt: skip

    def cdk(self, *arguments: str) -> str:
        """Runs the CDK CLI; what it prints."""
        variables = {
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": REGION,
            "CI": "true",
            "HOME": str(self.assembly),
        }
        done = subprocess.run(
            [str(_CDK), *arguments],
            env={"PATH": os.environ["PATH"], **environment(self.port), **variables},
            cwd=self.assembly,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def deploy(self) -> str:
        """`cdk deploy` of the stack; what it prints."""
        return self.cdk(
            *("deploy", "--app", str(self.assembly), "--method", "direct", "--require-approval", "never"),
            *("--no-notices", "--parameters", f"{ADMITTED_CIDR}={ADMITTED}"),
        )

    def template(self) -> Any:
        """The template as it is deployed."""
        body = self.client("cloudformation").get_template(StackName=STACK)["TemplateBody"]
        return json.loads(body) if isinstance(body, str) else body

    def change(self, operation: str, template: Any, name: str = STACK) -> Mapping[str, Any]:
        """Creates or updates a stack; how that ended."""
        self.client("s3").put_object(Bucket=BUCKET, Key="changed.json", Body=json.dumps(template).encode())
        identity = getattr(self.client("cloudformation"), operation)(
            StackName=name,
            TemplateURL=f"http://localhost:{self.port}/{BUCKET}/changed.json",
            Parameters=[{"ParameterKey": ADMITTED_CIDR, "ParameterValue": ADMITTED}],
        )["StackId"]
        return self.settled(identity)

    def settled(self, name_or_id: str) -> Mapping[str, Any]:
        """The stack once nothing is done to it any more."""
        stack: Mapping[str, Any] = self.client("cloudformation").describe_stacks(StackName=name_or_id)["Stacks"][0]
        assert not stack["StackStatus"].endswith("_IN_PROGRESS"), stack
        return stack

    def failures(self, stack: Mapping[str, Any]) -> list[str]:
        """Why resources of a stack could not be made or changed."""
        events = self.client("cloudformation").describe_stack_events(StackName=stack["StackId"])["StackEvents"]
        return [event["ResourceStatusReason"] for event in events if event["ResourceStatus"].endswith("E_FAILED")]


@pytest.fixture(scope="package")
def bare_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """The account with nothing in it."""
    base, assembly = tmp_path_factory.mktemp("endpoint"), tmp_path_factory.mktemp("assembly")
    port = free_port()
    with (base / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.local_endpoint.serve", str(base), str(port)],
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
        )
        try:
            synthesize(_CONTEXT, assembly)
            _wait(port, server)
            yield Account(port, assembly)
        finally:
            server.terminate()
            server.wait()


@pytest.fixture(scope="package")
def before(bare_account: Account) -> dict[str, set[str]]:
    """What there was before the stack."""
    return inventory(bare_account.client)


@pytest.fixture(scope="package")
def account(bare_account: Account, before: dict[str, set[str]]) -> Account:
    """The account with the CDK's and our stack, put there by the CDK CLI."""
    bare_account.cdk("bootstrap", "--app", "", f"aws://{ACCOUNT}/{REGION}")
    bare_account.deploy()
    return bare_account


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=10):
            return
        time.sleep(0.1)
    raise AssertionError("the endpoint has ended")
