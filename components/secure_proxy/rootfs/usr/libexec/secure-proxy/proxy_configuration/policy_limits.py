"""`limits` of the policy."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from proxy_configuration.values import Section

DEFAULTS: Mapping[str, Any] = {
    "drainTimeout": "30s",
    "maxSessionAge": "0s",
    "maxFrameSize": 0,
    "maxMessageSize": 0,
    "controlFramesPerSecond": 100,
    "sessionsPerWorker": 0,
    "allowedOrigins": [],
    "connectionsPerAddress": 4096,
    "connectionsPerSubject": 1000,
    "handshakesPerAddress": 7000,
    "tokenRequestsPerAddress": 150,
    "rateWindow": "5m",
    "allowedNetworks": [],
    "deniedNetworks": [],
    "headerTimeout": "10s",
    "maxRequestBody": 65536,
}


def read(section: Section, worker_connections: int) -> dict[str, Any]:
    """Check `limits`; times are milliseconds, or seconds where the name ends in `_s`, sizes bytes.

    A session takes two of a worker's connections. Unless told otherwise, an eighth is left for what brings no session.
    """
    section = section.with_defaults(DEFAULTS)
    window = section.milliseconds("rateWindow") / 1000
    if window < 1:
        raise section.refuse("rateWindow", "a duration of at least 1s")
    return {
        "drain_timeout_ms": section.milliseconds("drainTimeout"),
        "max_session_age_ms": section.milliseconds("maxSessionAge"),
        "max_frame_size": section.number("maxFrameSize"),
        "max_message_size": section.number("maxMessageSize"),
        "control_frames_per_second": section.number("controlFramesPerSecond"),
        "sessions_per_worker": section.number("sessionsPerWorker") or worker_connections * 7 // 16,
        "allowed_origins": section.strings("allowedOrigins"),
        "connections_per_address": section.number("connectionsPerAddress"),
        "connections_per_subject": section.number("connectionsPerSubject"),
        "handshakes_per_address": section.number("handshakesPerAddress"),
        "token_requests_per_address": section.number("tokenRequestsPerAddress"),
        "rate_window_s": window,
        "allowed_networks": _networks(section, "allowedNetworks"),
        "denied_networks": _networks(section, "deniedNetworks"),
        "header_timeout_ms": section.milliseconds("headerTimeout"),
        "max_request_body": section.number("maxRequestBody", minimum=1),
    }


def _networks(section: Section, key: str) -> list[list[int]]:
    """Each network as its first and last address, numbers that Lua can compare."""
    try:
        networks = [ipaddress.IPv4Network(text) for text in section.strings(key)]
    except ValueError:
        raise section.refuse(key, "a list of IPv4 networks such as 203.0.113.0/24") from None
    return [[int(network.network_address), int(network.broadcast_address)] for network in networks]
