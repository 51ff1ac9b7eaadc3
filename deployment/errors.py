"""The errors of a deployment. Each message names the cause and the remedy; each class has its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from lambdas.common.errors import error_code, is_transient

# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html and the services' common errors.
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_INVALID = frozenset({"AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "ForbiddenException"})

AWS_ERRORS = (ClientError, BotoCoreError)


class DeploymentError(Exception):
    """Something failed while it ran (exit code 1)."""

    exit_code = 1


class NotStartedError(DeploymentError):
    """The request cannot be served as asked; nothing was changed (exit code 2)."""

    exit_code = 2


class InterruptedByUserError(DeploymentError):
    """Ctrl-C, or a signal that asks to end; the text says what goes on without us (exit code 130)."""

    exit_code = 130


def is_expired(error: Exception) -> bool:
    """Whether the credentials are no longer valid, but were: a session has ended."""
    if isinstance(error, ClientError):
        return error_code(error) in _EXPIRED
    return isinstance(error, SSOError | TokenRetrievalError | CredentialRetrievalError | NoCredentialsError)


def is_denied(error: Exception) -> bool:
    """Whether the credentials are valid and do not permit the call."""
    return isinstance(error, ClientError) and error_code(error) in _DENIED


def may_pass(error: Exception) -> bool:
    """Whether the same call may succeed a little later: throttling, trouble on AWS's side or on the way there."""
    if isinstance(error, ClientError):
        return is_transient(error)
    return isinstance(error, HTTPClientError | BotoConnectionError)


def explanation(error: Exception) -> str:
    """What an error of AWS means for the person at the keyboard, in one or two sentences."""
    if is_expired(error):
        return f"the AWS session has expired ({error}). Renew it (with SSO: aws sso login), then try again"
    if isinstance(error, ClientError) and error_code(error) in _INVALID:
        return (
            f"AWS does not accept the credentials ({error}). Check the key pair or AWS_PROFILE, and whether the "
            "account has this region switched on"
        )
    if is_denied(error):
        return (
            f"the credentials do not permit what is needed: {error}. Use others that do, or have an administrator "
            "permit the action that is named there"
        )
    if may_pass(error):
        return f"AWS cannot be reached or does not answer properly: {error}. Try again"
    return str(error)


@contextmanager
def before_anything_starts() -> Iterator[None]:
    """Errors of AWS in the block mean that nothing was started: `NotStartedError`."""
    try:
        yield
    except AWS_ERRORS as error:
        raise NotStartedError(explanation(error)) from error
