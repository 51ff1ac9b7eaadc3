"""Waiting for AWS: with patience for trouble that passes, and with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from deployment.console import Console
from deployment.errors import AWS_ERRORS, DeploymentError, may_pass

T = TypeVar("T")

_PATIENCE_SECONDS = 15 * 60.0
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True)
class Waiter:
    """Looks every `poll` seconds, and says on the console what is waited for."""

    console: Console
    poll: float = 10.0
    sleep: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)

    def patiently(self, call: Callable[[], T]) -> T:
        """The result of `call`, tried again while AWS throttles, fails on its side or is out of reach.

        The error passes when that lasts for a quarter of an hour, and at once when it is of another kind.
        """
        deadline, pause = self.clock() + _PATIENCE_SECONDS, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except AWS_ERRORS as error:
                if not may_pass(error) or self.clock() >= deadline:
                    raise
                self.console.line(f"no answer, trying again: {error}")
            self.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def until_nothing(self, look: Callable[[], str], *, within: float) -> None:
        """Returns when `look` finds nothing more to wait for. Raises `DeploymentError` after `within` seconds."""
        deadline = self.clock() + within
        while awaited := self.patiently(look):
            if self.clock() >= deadline:
                raise DeploymentError(f"after {within / 60:.0f} minutes there is still: {awaited}")
            self.console.status(awaited)
            self.sleep(self.poll)
        self.console.settle()
