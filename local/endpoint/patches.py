"""Replacing methods of moto's classes, and giving them back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Patches:
    """Replacements that `undo` takes back. moto makes its backends when they are first asked for, from classes that it
    names itself: so it is the classes that change."""

    def __init__(self) -> None:
        self._former: list[tuple[type, str, Any]] = []

    def replace(self, owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Put `make(method)` in the place of the method `name`, which `owner` or a class above it has."""
        method = getattr(owner, name)
        self._former.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, make(method))

    def add(self, owner: type, name: str, method: Callable[..., Any]) -> None:
        """Give `owner` a method that it does not have."""
        if hasattr(owner, name):
            raise TypeError(f"moto has {owner.__name__}.{name} by now")
        self._former.append((owner, name, None))
        setattr(owner, name, method)

    def undo(self) -> None:
        """Leave every class as it was."""
        for owner, name, former in reversed(self._former):
            if former is None:
                delattr(owner, name)
            else:
                setattr(owner, name, former)
        self._former.clear()
