"""The one account and region of the local endpoint."""

from __future__ import annotations

from moto.core.models import DEFAULT_ACCOUNT_ID

ACCOUNT = str(DEFAULT_ACCOUNT_ID)  # moto's, which it gives to callers whose key it does not know
REGION = "eu-central-1"
PARTITION = "aws"
ZONES = tuple(f"{REGION}{letter}" for letter in "abc")


def arn(service: str, resource: str, *, region: str = REGION, account: str = ACCOUNT) -> str:
    """The ARN of a resource of this account."""
    return f"arn:{PARTITION}:{service}:{region}:{account}:{resource}"
