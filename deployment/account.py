"""The account and region that the environment names, and clients for its services."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from deployment.errors import AWS_ERRORS, NotStartedError, explanation

_CONFIG = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})
_HOW_TO_SIGN_IN = (
    "AWS credentials are missing: export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with the name of "
    "a profile (with SSO: aws configure sso, then aws sso login)"
)


class Aws:
    """Clients of one region, one for each service."""

    def __init__(self, session: boto3.Session, region: str) -> None:
        self.region = region
        self._session = session
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """The client of a service such as `stepfunctions`; the endpoint comes from the environment."""
        if service not in self._clients:
            make: Any = self._session.client
            self._clients[service] = make(service, region_name=self.region, config=_CONFIG)
        return self._clients[service]


@dataclass(frozen=True)
class Identity:
    """Who the credentials are."""

    account: str
    arn: str


def connect(environment: Mapping[str, str]) -> Aws:
    """The services of the region in the environment, with credentials as the AWS CLI finds them.

    Raises `NotStartedError`, which lists all that is missing.
    """
    problems = _region_problems(environment)
    try:
        session = boto3.Session(region_name=environment.get("AWS_DEFAULT_REGION") or None)
        found = session.get_credentials()
        if found is None:
            problems.append(_HOW_TO_SIGN_IN)
        else:
            found.get_frozen_credentials()
    except ProfileNotFound as error:
        raise NotStartedError(f"{error}. See the profiles there are: aws configure list-profiles") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        problems.append(f"{_HOW_TO_SIGN_IN} ({error})")
    except BotoCoreError as error:
        problems.append(explanation(error))
    if problems:
        raise NotStartedError("\n       ".join(problems))
    return Aws(session, environment["AWS_DEFAULT_REGION"])


def identify(aws: Aws) -> Identity:
    """The account that the credentials belong to. Raises `NotStartedError` when AWS does not know them."""
    try:
        answer = aws.client("sts").get_caller_identity()
    except InvalidRegionError as error:
        raise NotStartedError(_unknown_region(aws.region)) from error
    except EndpointConnectionError as error:
        if aws.region not in known_regions():
            raise NotStartedError(f"{_unknown_region(aws.region)} ({error})") from error
        raise NotStartedError(explanation(error)) from error
    except AWS_ERRORS as error:
        raise NotStartedError(explanation(error)) from error
    return Identity(account=answer["Account"], arn=answer["Arn"])


def known_regions() -> list[str]:
    """The regions that this release of boto3 knows, of all partitions."""
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
    partitions = session.get_available_partitions()
    return sorted(region for name in partitions for region in session.get_available_regions("sts", name))


def _region_problems(environment: Mapping[str, str]) -> list[str]:
    region = environment.get("AWS_DEFAULT_REGION", "")
    if not region:
        configured = _region_of_profile(environment)
        return [f"AWS_DEFAULT_REGION is missing: export AWS_DEFAULT_REGION={configured or 'eu-central-1'}"]
    # The CDK CLI reads others than boto3 does; two regions at once would deploy into one and look into the other.
    return [
        f"{name}={environment[name]} contradicts AWS_DEFAULT_REGION={region}: unset {name}"
        for name in ("AWS_REGION", "CDK_DEFAULT_REGION")
        if environment.get(name, region) != region
    ]


def _region_of_profile(environment: Mapping[str, str]) -> str | None:
    try:
        return boto3.Session(profile_name=environment.get("AWS_PROFILE")).region_name
    except BotoCoreError:
        return None


def _unknown_region(region: str) -> str:
    close = difflib.get_close_matches(region, known_regions(), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"AWS_DEFAULT_REGION={region} is no region of AWS{hint}"
