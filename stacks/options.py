"""What a deployment may choose besides the settings of `cdk.json`: CDK context, given as `cdk … -c key=value`.

`nginxBuild`, `sourceBaseUrl` and `mockRuntime` exist for machines without GitHub or Docker. Context that begins with
`projectSettings.` overrides one setting: `-c projectSettings.proxySettings.bridge=websockify`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stacks.component_parameters import NGINX_BUILDS, RUNTIMES
from stacks.settings import SettingsError

_SETTINGS_PREFIX = "projectSettings."


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


def _value(text: Any) -> Any:
    """The command line knows text alone: what reads as JSON, such as `8`, `true` or `["a"]`, is taken for that."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
