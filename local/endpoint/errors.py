"""What boto3's errors say."""

from __future__ import annotations

from botocore.exceptions import ClientError


def error_code(error: ClientError) -> str:
    """The service's name for what went wrong, such as `ResourceNotFoundException`."""
    return str(error.response.get("Error", {}).get("Code", ""))
