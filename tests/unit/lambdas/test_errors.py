"""What the state machine may retry."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from lambdas.common.errors import TransientServiceError, transient_errors


def client_error(code: str, status: int) -> ClientError:
    response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")  # type: ignore[arg-type]


def raising(error: Exception) -> Callable[[], None]:
    def call() -> None:
        with transient_errors():
            raise error

    return call


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException", 400),
        client_error("Throttling", 400),
        client_error("RequestLimitExceeded", 503),
        client_error("ServiceUnavailableException", 503),
        client_error("InternalError", 500),
        client_error("SomethingNew", 429),
        EndpointConnectionError(endpoint_url="https://x"),
        ConnectTimeoutError(endpoint_url="https://x"),
        ReadTimeoutError(endpoint_url="https://x"),
    ],
    ids=str,
)
def test_what_may_pass_is_transient(error: Exception) -> None:
    with pytest.raises(TransientServiceError):
        raising(error)()


@pytest.mark.parametrize(
    "error",
    [
        client_error("AccessDeniedException", 403),
        client_error("ValidationError", 400),
        NoCredentialsError(),
        KeyError(),
    ],
    ids=str,
)
def test_what_stays_wrong_passes_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)):
        raising(error)()
