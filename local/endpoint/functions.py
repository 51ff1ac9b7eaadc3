"""AWS Lambda's Invoke, in place of moto's, which needs Docker or answers from a list; and GetAccountSettings.

moto keeps the functions. Here their code is unpacked and run: each invocation in a process of its own, with the
function's handler, environment, timeout and reserved concurrency, and a log of its own. An invocation of type
`Event` is not retried.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import LambdaFunction, lambda_backends
from werkzeug.wrappers import Request, Response

from local.endpoint.account import ACCOUNT, REGION
from local.layout import Layout
from local.traces import MARKER

_PATH = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_SETTINGS_PATH = "/2016-08-19/account-settings"
_CONCURRENCY = 1000  # executions at once in an account, as AWS grants them
_PROGRAM = Path(__file__).with_name("function_process.py")


@dataclass(frozen=True)
class Outcome:
    """What an invocation gives back: JSON, and whether it is the report of an error."""

    payload: str
    failed: bool


class TooManyRequestsError(Exception):
    """As many executions as are reserved for the function are running."""


class Functions:
    """Runs the account's functions. `environment` are the variables by which they find the endpoint."""

    def __init__(self, layout: Layout, environment: Mapping[str, str]) -> None:
        self._layout = layout
        self._environment = environment
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def serves(self, method: str, path: str) -> bool:
        """Whether a request to AWS Lambda is for us: an invocation, or the question for the account's settings."""
        if path.rstrip("/") == _SETTINGS_PATH:
            return method == "GET"
        return method == "POST" and _PATH.fullmatch(path) is not None

    def respond(self, request: Request) -> Response:
        """The answer, as the API reference of Invoke or GetAccountSettings has it."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            return _account_settings()
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        try:
            function = lambda_backends[ACCOUNT][REGION].get_function(match[1])
            event = json.loads(request.get_data() or b"{}")
            if kind == "DryRun":
                return Response(status=HTTPStatus.NO_CONTENT)
            if kind == "Event":
                threading.Thread(target=self.invoke, args=(function, event), daemon=True).start()
                return Response(status=HTTPStatus.ACCEPTED)
            outcome = self.invoke(function, event)
        except UnknownFunctionException as error:
            return _error(HTTPStatus.NOT_FOUND, "ResourceNotFoundException", str(error.message))
        except TooManyRequestsError as error:
            return _error(
                HTTPStatus.TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                str(error),
                Reason="ReservedFunctionConcurrentInvocationLimitExceeded",
            )
        except ValueError as error:
            return _error(
                HTTPStatus.BAD_REQUEST,
                "InvalidRequestContentException",
                f"Could not parse request body into json: {error}",
            )
        headers = {"X-Amz-Executed-Version": "$LATEST"}
        if outcome.failed:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return Response(outcome.payload, HTTPStatus.OK, headers, content_type="application/json")

    def invoke(self, function: LambdaFunction, event: object) -> Outcome:
        """Run the function on an event until it ends. Raises `TooManyRequestsError`."""
        with self._reserved(function):
            return self._run(function, event)

    def _run(self, function: LambdaFunction, event: object) -> Outcome:
        request_id, seconds = str(uuid.uuid4()), int(function.timeout)
        with self._log(function).open("ab") as log, tempfile.TemporaryFile(dir=self._layout.run) as answer:
            log.write(f"START RequestId: {request_id}\n".encode())
            log.flush()
            process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM), str(answer.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[answer.fileno()],
                cwd=self._unpacked(function),
                env=self._variables(function, request_id),
                start_new_session=True,
            )
            try:
                request = {"event": event, "context": _facts(function, request_id)}
                process.communicate(json.dumps(request).encode(), timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return _ended(log, "Sandbox.Timedout", request_id, f"Task timed out after {seconds}.00 seconds")
            answer.seek(0)
            text = answer.read()
            if not text:
                status = process.returncode
                how = f"signal: {-status}" if status < 0 else f"exit status {status}"
                return _ended(log, "Runtime.ExitError", request_id, f"Runtime exited with error: {how}")
            log.write(f"END RequestId: {request_id}\n".encode())
        return Outcome(**json.loads(text))

    def _log(self, function: LambdaFunction) -> Path:
        """Named by the handler's module, as in `function-check_health.log`: functions' names are CloudFormation's."""
        module = str(function.handler).rpartition(".")[0].rpartition(".")[2]
        return self._layout.logs / f"function-{module}.log"

    def _variables(self, function: LambdaFunction, request_id: str) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            **self._environment,
            "AWS_LAMBDA_FUNCTION_NAME": str(function.function_name),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            **{name: str(value) for name, value in function.environment_vars.items()},
            "LAMBDA_TASK_ROOT": str(self._unpacked(function)),
            "_HANDLER": str(function.handler),
            "_REQUEST_ID": request_id,
            MARKER: self._layout.unit("functions"),
        }

    def _unpacked(self, function: LambdaFunction) -> Path:
        """The directory with the function's code; functions with the same code share it."""
        code: bytes = function.code_bytes
        directory = self._layout.run / "functions" / hashlib.sha256(code).hexdigest()[:16]
        with self._lock:
            if not directory.exists():
                partial = directory.with_suffix(".partial")
                with zipfile.ZipFile(io.BytesIO(code)) as archive:
                    archive.extractall(partial)
                partial.rename(directory)
        return directory

    @contextmanager
    def _reserved(self, function: LambdaFunction) -> Iterator[None]:
        name, reserved = str(function.function_name), function.reserved_concurrency
        with self._lock:
            if reserved is not None and self._running[name] >= int(reserved):
                raise TooManyRequestsError("Rate Exceeded.")
            self._running[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[name] -= 1


def _ended(log: BinaryIO, kind: str, request_id: str, words: str) -> Outcome:
    """The end of a function that gave no answer."""
    message = f"RequestId: {request_id} Error: {words}"
    log.write(f"{message}\n".encode())
    return Outcome(json.dumps({"errorType": kind, "errorMessage": message}), failed=True)


def _facts(function: LambdaFunction, request_id: str) -> dict[str, Any]:
    return {
        "aws_request_id": request_id,
        "function_name": function.function_name,
        "function_version": "$LATEST",
        "invoked_function_arn": function.function_arn,
        "memory_limit_in_mb": str(function.memory_size),
        "log_group_name": function.logs_group_name,
        "log_stream_name": request_id,
        "timeout": int(function.timeout),
    }


def _error(status: HTTPStatus, code: str, message: str, **further: str) -> Response:
    body = json.dumps({"Type": "User", "Message": message, "message": message, **further})
    return Response(body, status, {"X-Amzn-ErrorType": code}, content_type="application/json")


def _account_settings() -> Response:
    functions = lambda_backends[ACCOUNT][REGION].list_functions()
    reserved = sum(int(function.reserved_concurrency or 0) for function in functions)
    limit = {"ConcurrentExecutions": _CONCURRENCY, "UnreservedConcurrentExecutions": _CONCURRENCY - reserved}
    return Response(json.dumps({"AccountLimit": limit}), content_type="application/json")
