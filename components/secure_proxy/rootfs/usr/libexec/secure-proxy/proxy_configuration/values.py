"""Small checks and conversions that variables and policy share."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Any

from proxy_configuration.errors import ConfigurationError

VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h)")
DURATION_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def is_host(value: str) -> bool:
    """Whether the value is a DNS name or an IPv4 address: safe to stand in NGINX configuration and in a URL."""
    try:
        return ipaddress.ip_address(value).version == 4
    except ValueError:
        labels = value.rstrip(".").split(".")
        return len(value) <= 253 and all(HOST_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def is_duration(value: str) -> bool:
    return DURATION.fullmatch(value) is not None


def milliseconds(value: Any, name: str) -> int:
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ConfigurationError(f"{name}: {value!r} is not a duration such as 30s or 500ms")
    return int(match.group(1)) * DURATION_MS[match.group(2)]


class Section:
    """An object of the policy: known keys with their defaults. What is not known, or not of its type, is refused."""

    def __init__(self, content: Any, name: str, defaults: Mapping[str, Any]) -> None:
        if not isinstance(content, dict):
            raise ConfigurationError(f"{name} is not an object")
        unknown = sorted(set(content) - set(defaults))
        if unknown:
            known = ", ".join(sorted(defaults))
            raise ConfigurationError(f"{name}: unknown {', '.join(map(repr, unknown))}; allowed: {known}")
        self.name = name
        self._content = {**defaults, **content}

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def with_defaults(self, defaults: Mapping[str, Any]) -> Section:
        """The same object, known to have these keys."""
        return Section(self._content, self.name, defaults)

    def refuse(self, key: str, allowed: str) -> ConfigurationError:
        return ConfigurationError(f"{self.name}.{key}: {self[key]!r} is not {allowed}")

    def section(self, key: str) -> Section:
        content = self[key]
        return Section(content, f"{self.name}.{key}", content if isinstance(content, dict) else {})

    def sections(self, key: str) -> list[Section]:
        """The objects of a list."""
        entries = self[key]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.refuse(key, "a list of objects")
        return [Section(entry, f"{self.name}.{key}[{index}]", entry) for index, entry in enumerate(entries)]

    def text(self, key: str, pattern: str, allowed: str) -> str:
        value = self[key]
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise self.refuse(key, allowed)
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        value = self[key]
        if not isinstance(value, str) or value not in allowed:
            raise self.refuse(key, " or ".join(allowed))
        return value

    def strings(self, key: str, pattern: str = ".*", allowed: str = "a list of strings") -> list[str]:
        value = self[key]
        if not isinstance(value, list) or not all(
            isinstance(item, str) and re.fullmatch(pattern, item, re.ASCII | re.DOTALL) for item in value
        ):
            raise self.refuse(key, allowed)
        return value

    def number(self, key: str, minimum: int = 0) -> int:
        value = self[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.refuse(key, f"a number, {minimum} or more")
        return value

    def flag(self, key: str) -> bool:
        value = self[key]
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def milliseconds(self, key: str) -> int:
        return milliseconds(self[key], f"{self.name}.{key}")

    def certificates(self, key: str, label: str = "CERTIFICATE") -> list[str]:
        """PEM texts, each with one or more blocks of that label and nothing else."""
        block = rf"-----BEGIN {label}-----[A-Za-z0-9+/=\s]+-----END {label}-----\s*"
        return self.strings(key, rf"({block})+", f"a list of PEM texts of {label}")
