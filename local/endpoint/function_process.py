"""One invocation of a Lambda function, in the process that runs it: started by `functions`, never imported.

Reads the event from standard input and writes what came of it to the file descriptor that is its argument. Everything
else that the function prints goes to the log. Errors are reported as AWS Lambda's Python runtime reports them.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
import traceback
from typing import Any


class Context:
    """What a handler gets besides the event."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.__dict__.update(facts)
        self._ends = time.monotonic() + facts["timeout"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is ended."""
        return max(0, int((self._ends - time.monotonic()) * 1000))


def run(event: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """The result of the handler, or the report of its error."""
    module, _, function = os.environ["_HANDLER"].rpartition(".")
    try:
        handler = getattr(importlib.import_module(module), function)
    except ImportError as error:
        return _failure("Runtime.ImportModuleError", f"Unable to import module '{module}': {error}", [])
    except AttributeError:
        return _failure("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module}'", [])
    except Exception as error:
        return _raised(error)
    try:
        result = handler(event, Context(facts))
    except Exception as error:
        return _raised(error)
    try:
        return {"payload": json.dumps(result), "failed": False}
    except (TypeError, ValueError) as error:
        return _failure("Runtime.MarshalError", f"Unable to marshal response: {error}", [])


def _raised(error: Exception) -> dict[str, Any]:
    traceback.print_exception(error)
    return _failure(type(error).__name__, str(error), traceback.format_tb(error.__traceback__)[1:])


def _failure(kind: str, message: str, trace: list[str]) -> dict[str, Any]:
    report = {"errorMessage": message, "errorType": kind, "requestId": os.environ["_REQUEST_ID"], "stackTrace": trace}
    return {"payload": json.dumps(report), "failed": True}


def main() -> None:
    """Runs the handler that the environment names."""
    request = json.load(sys.stdin)
    # As the runtime of AWS Lambda sets up logging before it imports the function.
    logging.basicConfig(stream=sys.stdout, format="[%(levelname)s]\t%(asctime)s\t%(message)s", level=logging.WARNING)
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    found = run(request["event"], request["context"])
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answer:
        json.dump(found, answer)


if __name__ == "__main__":
    main()
