"""What a deployment may choose besides the settings of `cdk.json`: CDK context, given as `cdk … -c key=value`.

`nginxBuild`, `sourceBaseUrl` and `mockRuntime` exist for machines without GitHub or Docker. Context that begins with
`projectSettings.` overrides one setting: `-c projectSettings.proxySettings.bridge=websockify`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stacks.component_parameters import NGINX_BUILDS, RUNTIMES
from stacks.settings import ProjectSettings, SettingsError

_SETTINGS_PREFIX = "projectSettings."
_OPTIONS = ("nginxBuild", "sourceBaseUrl", "mockRuntime")
_OF_THE_CDK = ("@", "aws:", "aws-cdk:")  # how its own keys begin: feature flags, what it hands over to apps


@dataclass(frozen=True)
class DeploymentOptions:
    """How images are built, and single settings that are overridden."""

    nginx_build: str = "source"
    source_base_url: str = "https://github.com"
    mock_runtime: str = "docker"
    overrides: Mapping[str, Any] | None = None

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> DeploymentOptions:
        """The options that CDK context holds; context of other purposes is ignored.

        Raises `SettingsError` for a build or runtime that does not exist.
        """
        options = cls(
            nginx_build=str(context.get("nginxBuild", cls.nginx_build)),
            source_base_url=str(context.get("sourceBaseUrl", cls.source_base_url)),
            mock_runtime=str(context.get("mockRuntime", cls.mock_runtime)),
            overrides={
                key.removeprefix(_SETTINGS_PREFIX): _value(value)
                for key, value in context.items()
                if key.startswith(_SETTINGS_PREFIX)
            },
        )
        wrong = [
            (f"context.{key}", f'"{value}" is unknown, allowed: {" or ".join(allowed)}')
            for key, value, allowed in (
                ("nginxBuild", options.nginx_build, NGINX_BUILDS),
                ("mockRuntime", options.mock_runtime, RUNTIMES),
            )
            if value not in allowed
        ]
        if wrong:
            raise SettingsError.of("command line", wrong)
        return options


def refuse_unknown_context(keys: Iterable[str]) -> None:
    """Raises `SettingsError` for keys that a person has given and that nobody reads, with the one that was meant."""
    ours = (*_OPTIONS, *(f"{_SETTINGS_PREFIX}{group.alias}" for group in ProjectSettings.model_fields.values()))
    wrong = []
    for key in keys:
        if key in _OPTIONS or key.startswith((_SETTINGS_PREFIX, *_OF_THE_CDK)):
            continue
        if f"{_SETTINGS_PREFIX}{key.partition('.')[0]}" in ours:
            meant = [f"{_SETTINGS_PREFIX}{key}"]
        else:
            meant = difflib.get_close_matches(key, ours, n=1)
        hint = f" (did you mean {meant[0]}?)" if meant else ""
        allowed = f"{', '.join(_OPTIONS)} and {_SETTINGS_PREFIX}<key of docs/configuration.md>"
        wrong.append((f"context.{key}", f"is not a known key{hint}, allowed: {allowed}"))
    if wrong:
        raise SettingsError.of("command line", wrong)


def _value(text: Any) -> Any:
    """The command line knows text alone: what reads as JSON, such as `8`, `true` or `["a"]`, is taken for that."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
