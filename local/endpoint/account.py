"""The one account and region of the local endpoint, and how programs are pointed at it. Needs nothing of moto."""

from __future__ import annotations

import os
from collections.abc import Mapping

HOST = "127.0.0.1"
ACCOUNT = "123456789012"  # moto's, which it gives to callers whose key it does not know
REGION = "eu-central-1"
PARTITION = "aws"
ZONES = tuple(f"{REGION}{letter}" for letter in "abc")


def arn(service: str, resource: str, *, region: str = REGION, account: str = ACCOUNT) -> str:
    """The ARN of a resource of this account."""
    return f"arn:{PARTITION}:{service}:{region}:{account}:{resource}"


def environment(port: int) -> dict[str, str]:
    """The variables by which AWS SDKs and the CDK CLI use the endpoint, and nothing of the user's account.

    They reach it directly, whatever proxy this host needs for everything else.
    """
    return {
        **dict.fromkeys(("no_proxy", "NO_PROXY"), _without_proxy(os.environ)),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://localhost:{port}",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


def _without_proxy(host: Mapping[str, str]) -> str:
    """The hosts that are reached without a proxy: those of the environment `host`, and this one."""
    given = host.get("no_proxy") or host.get("NO_PROXY") or ""
    if given.strip() == "*":
        return given
    return ",".join(dict.fromkeys([*filter(None, map(str.strip, given.split(","))), "localhost", HOST]))
