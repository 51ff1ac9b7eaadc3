"""The settings of a deployment: `cdk.json`, with what CDK context overrides."""

from __future__ import annotations

from collections.abc import Sequence

from deployment.errors import NotStartedError
from stacks.options import DeploymentOptions, refuse_unknown_context
from stacks.settings import ProjectSettings, SettingsError, load_settings


def settings_with(context: Sequence[str]) -> ProjectSettings:
    """The settings of cdk.json with those that CDK context overrides. Raises `NotStartedError` with all problems.

    A key that nobody reads is one of them: the CDK would pass over it without a word.
    """
    pairs = dict(entry.split("=", 1) for entry in context)
    try:
        refuse_unknown_context(pairs)
        return load_settings(overrides=DeploymentOptions.from_context(pairs).overrides)
    except SettingsError as error:
        raise NotStartedError(f"the settings cannot be used:\n{error}") from error
