"""The one error that the operator sees."""

from __future__ import annotations


class ConfigurationError(Exception):
    """One sentence for the operator: what is wrong and what is allowed."""
