"""What a refusal or an end means and what to do about it; `docs/clients.md` has the same for other clients' authors."""

from __future__ import annotations

from collections.abc import Mapping

HANDSHAKE_REMEDIES: Mapping[int, str] = {
    400: "the proxy takes this for no WebSocket handshake: something on the path alters the request",
    401: "the proxy saw no bearer token: does something on the path remove the Authorization header?",
    403: "the proxy does not accept this token: its audit.log says why (signature, issuer, audience, expiry)",
    404: "this is not the WSS listener of the proxy: check --wss-port",
    426: "the proxy speaks another WebSocket version, or something on the path removes the Upgrade header",
    429: "too many connections or handshakes from this address or subject: wait, then try again",
    431: "the request's headers are too large: the token has more than 16 KiB, or something on the path adds headers",
    502: "the proxy cannot reach the TCP application: check the application and its load balancer",
    503: "the proxy cannot verify tokens now (check that it reaches the issuer) or is full: try later",
    504: "the TCP application did not accept the connection in time: check the application and its load balancer",
}
"""By HTTP status of a refused handshake."""

CLOSE_REMEDIES: Mapping[int, str] = {
    1000: "the TCP application ended the connection",
    1001: "the proxy is being replaced or restarted: connect again",
    1002: "the proxy saw a violation of RFC 6455: something on the path alters frames",
    1006: "the connection broke without a close frame: the proxy was killed, or something on the path cut it",
    1007: "a text message was not UTF-8: something on the path alters frames",
    1008: "too many pings or pongs in a second: send fewer",
    1009: "a frame or message is larger than the proxy's limit: send smaller ones",
    1011: "the TCP application failed or stopped reading, or the proxy's pings were not answered: see nginx-error.log",
    4401: "the token expired: obtain a new one and connect again",
    4403: "the operator ended the session: ask why before connecting again",
}
"""By close code."""
