"""What a run of the client returned and printed, and how tests look at it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What a run of the client returned and printed."""

    code: int
    out: str
    err: str


def lines_of(outcome: Outcome, label: str) -> list[str]:
    """Names of the scenarios whose line begins with this label."""
    return re.findall(rf"^{label} +\d (\S+(?: \S+)*?) +\d+ ms", outcome.out, re.MULTILINE)


def assert_failed(outcome: Outcome, scenario: str, received: str) -> None:
    """The run failed, in this scenario, for this reason."""
    assert outcome.code == 1
    assert lines_of(outcome, "FAIL") == [scenario]
    assert received in outcome.out, outcome.out
    assert "expected: " in outcome.out
