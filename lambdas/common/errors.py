"""The errors that the workflow sees. Step Functions matches an error by the name of its class.

`TransientServiceError`, `ImageNotVisibleError` and `RolloutEndingError` are retried by the state machine; every other
error ends the deployment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

# What AWS services call "too many requests", besides answering 429 or 5xx.
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "CallRateLimitExceededException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ResourceContention",
        "ScalingActivityInProgress",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TooManyUpdates",
        "TransactionInProgressException",
    }
)


class WorkflowError(Exception):
    """An error with a name that the state machine knows and a text that a person can act on."""


class InvalidEventError(WorkflowError):
    """The event is not what the handler expects: a mistake in the state machine's definition."""


class TransientServiceError(WorkflowError):
    """An AWS service is throttling, failing on its side or out of reach; the same call may succeed later."""


class DeploymentInProgressError(WorkflowError):
    """Another execution of the state machine started earlier and still runs."""


class RolloutInProgressError(WorkflowError):
    """Somebody else is replacing the instances of a group."""


class RolloutEndingError(WorkflowError):
    """An earlier replacement of a group's instances is being cancelled; it is over soon."""


class ImageBuildFailedError(WorkflowError):
    """Image Builder did not produce an image."""


class ImageBuildTimedOutError(WorkflowError):
    """Image Builder is still building when the bound is reached."""


class ImageNotVisibleError(WorkflowError):
    """A published image is not yet what its parameter shows: Parameter Store validates image ids later."""


class RolloutFailedError(WorkflowError):
    """EC2 Auto Scaling gave up replacing instances."""


class TargetsUnhealthyError(WorkflowError):
    """Targets are not all healthy when the bound is reached."""


class FleetNotFoundError(WorkflowError):
    """An Auto Scaling group of the stack does not exist."""


@contextmanager
def transient_errors() -> Iterator[None]:
    """Turns throttling, errors on the service's side and lost connections into `TransientServiceError`."""
    try:
        yield
    except ClientError as error:
        if is_transient(error):
            raise TransientServiceError(str(error)) from error
        raise
    except (HTTPClientError, BotoConnectionError) as error:
        raise TransientServiceError(str(error)) from error


def is_transient(error: ClientError) -> bool:
    """Whether the same call may succeed a little later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error_code(error) in _THROTTLED or status == 429 or status >= 500


def error_code(error: ClientError) -> str:
    """The service's name for what went wrong, such as `ThrottlingException`."""
    return error.response.get("Error", {}).get("Code", "")
