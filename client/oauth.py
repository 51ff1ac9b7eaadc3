"""The OAuth listener: the OpenID Connect configuration, and a token."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from client.jwt import InvalidJwtError, Jwt
from client.network import deadline, excerpt, unreachable
from client.options import Options, Target
from client.results import ExpectationError

DEMO_ISSUER_SEGMENT = "awsexample"
"""Last path segment of the demo's issuer: what is expected when `--issuer` names none."""

_MAX_ANSWER = 1024 * 1024
_REQUIRED_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ISSUER_REMEDY = "is this the proxy you meant, and does it forward to the OAuth server you meant? (--issuer)"


@dataclass(frozen=True)
class Configuration:
    """The checked part of the OpenID Connect discovery document."""

    issuer: str
    endpoints: Mapping[str, str]


@dataclass(frozen=True)
class Token:
    """An access token; the value stays out of `repr` and so out of tracebacks. `expires_at` is in epoch seconds."""

    value: str = field(repr=False)
    issuer: str
    expires_at: float


class OAuthListener:
    """Requests to the proxy's OAuth listener. Redirects are not followed and proxies of the environment not used."""

    def __init__(self, target: Target, tls: ssl.SSLContext, timeout: float) -> None:
        self._target = target
        self._tls = tls
        self._timeout = timeout

    async def configuration(self, expected_issuer: str | None) -> Configuration:
        """Fetches `/configuration`; raises ExpectationError unless issuer and endpoints are as expected."""
        document = await self._request("GET", "/configuration")
        issuer = _checked_issuer(document.get("issuer"), expected_issuer)
        endpoints = {
            name: value for name, value in document.items() if name == "jwks_uri" or name.endswith("_endpoint")
        }
        for name in _REQUIRED_ENDPOINTS:
            if name not in endpoints:
                raise ExpectationError(f"{name} in the configuration", "a configuration without it")
        for name, value in endpoints.items():
            if not isinstance(value, str) or not _lives_under(value, issuer):
                raise ExpectationError(f"{name} under the issuer {issuer}", f"{value!r}", _ISSUER_REMEDY)
        return Configuration(issuer, endpoints)

    async def token(self, options: Options, configuration: Configuration) -> Token:
        """Obtains an access token at `/token`; raises ExpectationError unless it is a signed JWT of the issuer."""
        answer = await self._request(
            "POST",
            "/token",
            {
                "grant_type": "authorization_code",
                "code": options.credentials.code,
                "client_id": options.credentials.client_id,
                "client_secret": options.credentials.client_secret,
            },
        )
        token_type = answer.get("token_type")
        if not isinstance(token_type, str) or token_type.lower() != "bearer":
            raise ExpectationError("token_type Bearer", f"{token_type!r}")
        value = answer.get("access_token")
        if not isinstance(value, str):
            raise ExpectationError("an access_token in the answer of /token", "an answer without it")
        try:
            jwt = Jwt.parse(value)
        except InvalidJwtError as error:
            raise ExpectationError("an access_token that is a signed JWT", str(error)) from None
        issuer = jwt.claims.get("iss")
        if issuer != configuration.issuer:
            raise ExpectationError(f"a token with iss {configuration.issuer}", f"iss {issuer!r}", _ISSUER_REMEDY)
        if jwt.expires_at is None:
            raise ExpectationError("a token that expires (exp)", "a token without a numeric exp")
        return Token(value, configuration.issuer, jwt.expires_at)

    async def _request(self, method: str, path: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Sends one request and returns the JSON object that a 200 answer holds."""
        where = self._target.oauth_url(path)
        extensions = {"sni_hostname": self._target.server_name} if self._target.server_name else {}
        async with deadline(self._timeout, f"an answer to {method} {where}"):
            try:
                # trust_env=False: the answer must be the proxy's, not that of an HTTP proxy in between.
                async with (
                    # The deadline around bounds all of it; httpx's own limits would start anew with every byte.
                    httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=None) as client,  # noqa: S113
                    client.stream(
                        method,
                        where,
                        data=form,
                        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                        extensions=extensions,
                    ) as response,
                ):
                    body = await _bounded_body(response)
            except (httpx.HTTPError, OSError) as error:
                raise unreachable(error, where) from error
        if response.status_code != 200:
            raise ExpectationError(
                f"HTTP 200 to {method} {where}",
                f"HTTP {response.status_code} {response.reason_phrase}: {excerpt(body)}",
                "check --oauth-port, and that the proxy reaches the OAuth server",
            )
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ExpectationError(f"a JSON object from {where}", excerpt(body))
        return document


async def _bounded_body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_ANSWER:
            raise ExpectationError(f"an answer of at most {_MAX_ANSWER} bytes from {response.url}", "a longer one")
    return bytes(body)


def _checked_issuer(issuer: object, expected: str | None) -> str:
    if not isinstance(issuer, str):
        raise ExpectationError("an issuer in the configuration", f"{issuer!r}")
    if expected is not None:
        if issuer != expected:
            raise ExpectationError(f"the issuer {expected}", f"{issuer!r}", _ISSUER_REMEDY)
        return issuer
    url = _split(issuer)
    if url is None or url.path.rsplit("/", 1)[-1] != DEMO_ISSUER_SEGMENT:
        raise ExpectationError(
            f"an issuer URL whose last path segment is {DEMO_ISSUER_SEGMENT}", f"{issuer!r}", _ISSUER_REMEDY
        )
    return issuer


def _lives_under(endpoint: str, issuer: str) -> bool:
    """Whether the endpoint has the issuer's scheme, host and port and a path below the issuer's."""
    child, parent = _split(endpoint), _split(issuer)
    if child is None or parent is None or _origin(child) != _origin(parent):
        return False
    # "…/awsexample/../other/token" begins like the issuer and leads elsewhere, also when it is percent-encoded.
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", unquote(child.path))):
        return False
    base = parent.path.rstrip("/") + "/"
    return child.path.startswith(base) and child.path != base


def _split(url: str) -> SplitResult | None:
    """The parts of an absolute http(s) URL without credentials, or None."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError when it is no port
    except ValueError:
        return None
    return parts if parts.scheme in _DEFAULT_PORTS and parts.hostname and "@" not in parts.netloc else None


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    return url.scheme, url.hostname, url.port or _DEFAULT_PORTS[url.scheme]
