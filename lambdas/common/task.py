"""What every task of the workflow does around its one function: decode the event, call, encode the result."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from lambdas.common.errors import transient_errors
from lambdas.common.events import decode, encode

E = TypeVar("E")

logger = logging.getLogger("secure-proxy")
logger.setLevel(logging.INFO)


def run_task(model: type[E], event: object, function: Callable[[E], object]) -> Any:
    """The JSON result of `function` for the event as an instance of `model`.

    Errors pass: the state machine matches them by class name, retries or reports them.
    """
    request = decode(model, event)
    with transient_errors():
        result = encode(function(request))
    logger.info("%s", json.dumps({"request": event, "result": result}))
    return result
