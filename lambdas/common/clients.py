"""AWS clients of the handlers: one of a kind per process, with bounded waits."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

# A call that hangs must end before the function does. Lasting trouble is the state machine's to retry.
_CONFIG = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})


@cache
def client(service: str) -> Any:
    """The client of an AWS service, such as `imagebuilder`; region and endpoint come from the environment."""
    return boto3.client(service, config=_CONFIG)  # type: ignore[call-overload]
