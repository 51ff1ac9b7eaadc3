"""Small checks and conversions that variables and policy share."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from proxy_configuration.errors import ConfigurationError

VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
HOST_LABEL = re.compile(r"^(?!-)[A-Za-z0-9-]{1,63}(?<!-)$")
DURATION = re.compile(r"^(\d{1,9})(ms|s|m|h)$")
DURATION_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def is_host(value: str) -> bool:
    """Whether the value is a DNS name or an IPv4 address: safe to stand in NGINX configuration and in a URL."""
    try:
        return ipaddress.ip_address(value).version == 4
    except ValueError:
        labels = value.rstrip(".").split(".")
        return len(value) <= 253 and all(HOST_LABEL.match(label) for label in labels) and not labels[-1].isdigit()


def is_duration(value: str) -> bool:
    return DURATION.match(value) is not None


def milliseconds(value: Any, name: str) -> int:
    match = DURATION.match(value) if isinstance(value, str) else None
    if not match:
        raise ConfigurationError(f"{name}: {value!r} is not a duration such as 30s or 500ms")
    return int(match.group(1)) * DURATION_MS[match.group(2)]
