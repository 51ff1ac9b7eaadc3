"""Errors as AWS services answer them."""

from __future__ import annotations

from botocore.exceptions import ClientError


def service_error(code: str, operation: str, status: int = 400) -> ClientError:
    """What a boto3 client raises for a service's error."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": f"{code} of {operation}"},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "r",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
                "HostId": "",
            },
        },
        operation,
    )
