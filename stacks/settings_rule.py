"""What a rule about several settings is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stacks.settings_models import ProjectSettings


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the dotted path below `projectSettings` and the text that follows it."""

    path: str
    text: str


@dataclass(frozen=True)
class Rule:
    """A sentence for the documentation, the keys that it speaks of, and the check."""

    text: str
    keys: tuple[str, ...]
    check: Callable[[ProjectSettings], Iterator[Problem]]


def problem(path: str, wrong: str, allowed: str) -> Problem:
    return Problem(path, f"{wrong}, allowed: {allowed}")
