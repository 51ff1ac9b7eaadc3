"""The `POLICY` variable: who may connect and within which limits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from proxy_configuration.errors import ConfigurationError
from proxy_configuration.values import VARIABLE, milliseconds

URL = re.compile(r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~!&'()*+,=:@%/-]*)?$")


class Policy:
    """The `POLICY` variable, checked: what `authentication` and `limits` of projectSettings say."""

    def __init__(self, text: str, values: Mapping[str, str]) -> None:
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"POLICY is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise ConfigurationError("POLICY is not a JSON object")
        self._values = values
        self._unknown(document, {"authentication", "limits"}, "POLICY")
        self.authentication = self._authentication(self._section(document, "authentication"))
        self.limits = self._limits(self._section(document, "limits"))

    @staticmethod
    def _section(document: Mapping[str, Any], name: str) -> dict[str, Any]:
        section = document.get(name)
        if not isinstance(section, dict):
            raise ConfigurationError(f"POLICY lacks the object {name!r}")
        return section

    @staticmethod
    def _unknown(section: Mapping[str, Any], known: set[str], name: str) -> None:
        unknown = sorted(set(section) - known)
        missing = sorted(known - set(section))
        if unknown or missing:
            problems = [f"unknown {key!r}" for key in unknown] + [f"missing {key!r}" for key in missing]
            raise ConfigurationError(f"{name}: {', '.join(problems)}")

    def _url(self, value: Any, name: str) -> str:
        if isinstance(value, str):
            value = VARIABLE.sub(lambda match: self._values.get(match.group(1), match.group(0)), value)
        if not isinstance(value, str) or not URL.match(value):
            raise ConfigurationError(f"POLICY {name}: {value!r} is not an http:// or https:// address")
        return value

    @staticmethod
    def _strings(value: Any, name: str) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigurationError(f"POLICY {name}: {value!r} is not a list of strings")
        return value

    @staticmethod
    def _number(value: Any, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigurationError(f"POLICY {name}: {value!r} is not a number, 0 or more")
        return value

    def _authentication(self, section: Mapping[str, Any]) -> dict[str, Any]:
        known = {"provider", "issuer", "audiences", "algorithms", "clockSkew", "authorizerUrl"}
        self._unknown(section, known, "POLICY authentication")
        provider = section["provider"]
        if provider not in ("openidc", "external"):
            raise ConfigurationError(f"POLICY authentication.provider: {provider!r} is not openidc or external")
        if provider == "openidc" and self._values["NGINX_BUILD"] != "source":
            raise ConfigurationError(
                "POLICY authentication.provider: openidc needs an image of NginxBuild=source; "
                "this one is distribution, which has external alone"
            )
        algorithms = self._strings(section["algorithms"], "authentication.algorithms")
        if not algorithms or not set(algorithms) <= {"RS256", "RS384", "RS512"}:
            raise ConfigurationError("POLICY authentication.algorithms: allowed are one or more of RS256, RS384, RS512")
        return {
            "provider": provider,
            "issuer": self._url(section["issuer"], "authentication.issuer").rstrip("/"),
            "audiences": self._strings(section["audiences"], "authentication.audiences"),
            "algorithms": algorithms,
            "clock_skew_s": milliseconds(section["clockSkew"], "POLICY authentication.clockSkew") / 1000,
            "authorizer_url": self._url(section["authorizerUrl"], "authentication.authorizerUrl"),
        }

    def _limits(self, section: Mapping[str, Any]) -> dict[str, Any]:
        known = {
            "drainTimeout", "maxSessionAge", "maxFrameSize", "maxMessageSize",
            "controlFramesPerSecond", "sessionsPerWorker", "allowedOrigins",
        }  # fmt: skip
        self._unknown(section, known, "POLICY limits")
        return {
            "drain_timeout_ms": milliseconds(section["drainTimeout"], "POLICY limits.drainTimeout"),
            "max_session_age_ms": milliseconds(section["maxSessionAge"], "POLICY limits.maxSessionAge"),
            "max_frame_size": self._number(section["maxFrameSize"], "limits.maxFrameSize"),
            "max_message_size": self._number(section["maxMessageSize"], "limits.maxMessageSize"),
            "control_frames_per_second": self._number(
                section["controlFramesPerSecond"], "limits.controlFramesPerSecond"
            ),
            "sessions_per_worker": self._number(section["sessionsPerWorker"], "limits.sessionsPerWorker"),
            "allowed_origins": self._strings(section["allowedOrigins"], "limits.allowedOrigins"),
        }


def placeholder_policy(values: Mapping[str, str]) -> str:
    """A complete policy for judging the templates of an image that has no instance yet."""
    return json.dumps(
        {
            "authentication": {
                "provider": "openidc" if values.get("NGINX_BUILD") == "source" else "external",
                "issuer": "http://backend.invalid/issuer",
                "audiences": [],
                "algorithms": ["RS256"],
                "clockSkew": "30s",
                "authorizerUrl": "http://backend.invalid/authorize",
            },
            "limits": {
                "drainTimeout": "30s", "maxSessionAge": "0s", "maxFrameSize": 0, "maxMessageSize": 0,
                "controlFramesPerSecond": 100, "sessionsPerWorker": 0, "allowedOrigins": [],
            },
        }
    )  # fmt: skip
