"""What the account offers, as far as the stack's parameters depend on it."""

from __future__ import annotations

from dataclasses import dataclass

from deployment.account import Aws, Identity
from deployment.errors import is_denied
from deployment.stack import Stack
from stacks.names import RESERVED_CONCURRENCY

# Each function of the stack reserves one execution; a test counts them.
RESERVING_FUNCTIONS = 10
# What AWS Lambda keeps for functions that reserve nothing.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
_UNRESERVABLE = 100


@dataclass(frozen=True)
class Choice:
    """A switch of the stack and why it stands as it does."""

    on: bool
    why: str

    @property
    def parameter(self) -> str:
        """As a value of the stack's parameter."""
        return "true" if self.on else "false"

    def __str__(self) -> str:
        return f"{'on' if self.on else 'off'} ({self.why})"


def reserved_concurrency(chosen: bool | None, aws: Aws, stack: Stack | None) -> Choice:
    """Whether the functions may reserve concurrency: the quota of new accounts is too small."""
    if chosen is not None:
        return Choice(chosen, "as asked for")
    if stack is not None and stack.parameters.get(RESERVED_CONCURRENCY) == "true":
        return Choice(True, "as it is")  # what is reserved already does not count against the quota again
    try:
        limits = aws.client("lambda").get_account_settings()["AccountLimit"]
    except Exception as error:
        if not is_denied(error):
            raise
        return Choice(False, "not permitted to ask for the quota; --reserved-concurrency switches it on")
    free = limits["UnreservedConcurrentExecutions"]
    enough = free - RESERVING_FUNCTIONS >= _UNRESERVABLE
    return Choice(enough, f"{free} of the account's {limits['ConcurrentExecutions']} executions are not reserved")


def image_scanning(chosen: bool | None, aws: Aws, identity: Identity) -> Choice:
    """Whether Amazon Inspector scans EC2 in this account, and so can scan new images."""
    if chosen is not None:
        return Choice(chosen, "as asked for")
    try:
        answer = aws.client("inspector2").batch_get_account_status(accountIds=[identity.account])
    except Exception as error:
        if not is_denied(error):
            raise
        return Choice(False, "not permitted to ask Amazon Inspector; --image-scanning switches it on")
    states = [account["resourceState"]["ec2"]["status"] for account in answer["accounts"]]
    on = states == ["ENABLED"]
    return Choice(on, f"Amazon Inspector is {'' if on else 'not '}switched on for EC2")
