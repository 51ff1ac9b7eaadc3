"""The `POLICY` variable: who may connect and within which limits.

The instance's settings were validated when the stack was made (`stacks/settings.py`); they are validated again here,
because an image may meet settings that another version wrote. A section or key that is missing has its default, as in
the settings; one that is not known is an error, because it may have been meant to close something.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from proxy_configuration import policy_authentication, policy_connections, policy_limits
from proxy_configuration.errors import ConfigurationError
from proxy_configuration.values import Section


class Policy:
    """The `POLICY` variable, checked, in the form that the Lua code and the templates take."""

    def __init__(self, text: str, values: Mapping[str, str]) -> None:
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"POLICY is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise ConfigurationError("POLICY is not a JSON object")
        whole = Section(document, "POLICY", {"authentication": {}, "limits": {}, "application": {}, "oAuthServer": {}})
        for name in ("authentication", "limits"):
            if name not in document:
                raise ConfigurationError(f"POLICY: missing {name!r}")
        authentication = policy_authentication.read(whole.section("authentication"), values)
        self.authentication: dict[str, Any] = authentication.runtime
        self.limits: dict[str, Any] = policy_limits.read(
            whole.section("limits"), int(values["PROXY_WORKER_CONNECTIONS"])
        )
        self.application = policy_connections.read(whole.section("application"), values.get("BACKEND_HOST", ""))
        self.oauth_server = policy_connections.read(whole.section("oAuthServer"), values.get("BACKEND_HOST", ""))
        self.authentication["oidc_client_certificate"] = self.oauth_server.client_certificate
        self.client_authorities: list[str] = authentication.client_authorities
        self.revocation_lists: list[str] = authentication.revocation_lists


def placeholder_policy(values: Mapping[str, str]) -> str:
    """A complete policy for judging the templates of an image that has no instance yet."""
    provider = "openidc" if values.get("NGINX_BUILD") == "source" else "external"
    authentication = {
        "provider": provider,
        "issuer": "http://backend.invalid/issuer",
        "authorizerUrl": "http://backend.invalid/authorize",
    }
    return json.dumps({"authentication": authentication, "limits": {}})
