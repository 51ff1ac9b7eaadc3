"""The errors of the local target. Each message names the cause and the remedy; each class has its exit code."""

from __future__ import annotations


class LocalError(Exception):
    """Something failed while it ran (exit code 1)."""

    exit_code = 1


class UsageError(LocalError):
    """The request cannot be served as asked: wrong usage, settings or prerequisites (exit code 2)."""

    exit_code = 2


class DocumentError(UsageError):
    """A component document, its parameters or its assets are not acceptable; nothing has run."""


class NotDeployedError(LocalError):
    """There is no local deployment of that name."""
