"""Executions of the deployment workflow: the one that runs, and a new one."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from deployment.account import Aws
from lambdas.common.errors import error_code
from stacks.names import ParameterNames

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


def state_machine_arn(aws: Aws, names: ParameterNames) -> str | None:
    """The workflow's ARN as the stack has published it."""
    try:
        value: str = aws.client("ssm").get_parameter(Name=names.state_machine)["Parameter"]["Value"]
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            return None
        raise
    return value


def running_executions(sfn: SFNClient, machine_arn: str) -> list[str]:
    """The ARNs of executions that have not ended."""
    pages = sfn.get_paginator("list_executions").paginate(stateMachineArn=machine_arn, statusFilter="RUNNING")
    try:
        return [execution["executionArn"] for page in pages for execution in page["executions"]]
    except ClientError as error:
        if error_code(error) == "StateMachineDoesNotExist":
            return []
        raise


def start(sfn: SFNClient, machine_arn: str) -> str:
    """Starts the workflow; the execution's ARN.

    The execution has a name, so that a request that is sent twice, because the first answer was lost, starts one.
    """
    name = f"deploy-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
    return sfn.start_execution(stateMachineArn=machine_arn, name=name, input="{}")["executionArn"]
