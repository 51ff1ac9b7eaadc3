"""`authentication` of the policy: whose tokens open a session, and what they must say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from proxy_configuration.errors import ConfigurationError
from proxy_configuration.values import VARIABLE, Section

URL = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~!&'()*+,=:@%/-]*)?")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
WORD = r"[\x21\x23-\x5b\x5d-\x7e]+"  # RFC 6749, section 3.3: scope-token
COOKIE_NAME = r"[A-Za-z0-9_]*"
ROUTE_PATH = r"/[A-Za-z0-9._~/-]*"

RULE_DEFAULTS: Mapping[str, Any] = {
    "issuer": "http://${BACKEND_HOST}:${OAUTH_BACKEND_PORT}/awsexample",
    "audiences": [],
    "algorithms": ["RS256"],
    "requiredScopes": [],
    "requiredClaims": [],
    "clockSkew": "30s",
}
GRANT_DEFAULTS: Mapping[str, Any] = {"path": None, "audiences": [], "requiredScopes": [], "requiredClaims": []}
CERTIFICATE_DEFAULTS: Mapping[str, Any] = {"mode": "off", "caCertificates": [], "revocationLists": []}
DEFAULTS: Mapping[str, Any] = {
    **RULE_DEFAULTS,
    "provider": None,
    "authorizerUrl": "http://${BACKEND_HOST}:10090/authorize",
    "furtherIssuers": [],
    "routes": [],
    "subprotocolToken": True,
    "tokenCookie": "",
    "staleKeys": "1h",
    "clientCertificates": {},
}
# Beyond it, numbers that differ are one to whoever reads them as doubles, as Lua does (RFC 8259, section 6).
MAX_INTEGER = 2**53 - 1
TESTS = {"equals": "equals", "oneOf": "one_of", "contains": "contains"}


class Authentication(NamedTuple):
    """What the Lua code reads, and the PEM texts that go to files."""

    runtime: dict[str, Any]
    client_authorities: list[str]
    revocation_lists: list[str]


def read(section: Section, values: Mapping[str, str]) -> Authentication:
    """Check `authentication`; `values` fill the placeholders of addresses."""
    section = section.with_defaults(DEFAULTS)
    provider = section.choice("provider", ("openidc", "external"))
    if provider == "openidc" and values["NGINX_BUILD"] != "source":
        raise ConfigurationError(
            "POLICY.authentication.provider: openidc needs an image of NginxBuild=source; "
            "this one is distribution, which has external alone"
        )
    first = {key: section[key] for key in RULE_DEFAULTS}
    issuers = [_rules(Section(first, section.name, RULE_DEFAULTS), values)]
    issuers += [_rules(entry.with_defaults({**RULE_DEFAULTS, "issuer": None}), values)
                for entry in section.sections("furtherIssuers")]  # fmt: skip
    names = [rules["issuer"] for rules in issuers]
    if len(set(names)) != len(names):
        raise ConfigurationError("POLICY.authentication.furtherIssuers: an issuer is named twice")
    certificates = section.section("clientCertificates").with_defaults(CERTIFICATE_DEFAULTS)
    mode = certificates.choice("mode", ("off", "optional", "required"))
    authorities = certificates.certificates("caCertificates")
    if mode != "off" and not authorities:
        raise ConfigurationError("POLICY.authentication.clientCertificates: needs caCertificates unless it is off")
    runtime = {
        "provider": provider,
        "authorizer_url": _url(section, "authorizerUrl", values),
        "issuers": issuers,
        "routes": _routes(section),
        "token_sources": {
            "subprotocol": section.flag("subprotocolToken"),
            "cookie": section.text("tokenCookie", COOKIE_NAME, "a name of letters, digits and _").lower(),
        },
        "stale_keys_s": section.milliseconds("staleKeys") / 1000,
        "client_certificates": mode,
    }
    return Authentication(runtime, authorities, certificates.certificates("revocationLists", "X509 CRL"))


def _url(section: Section, key: str, values: Mapping[str, str]) -> str:
    value = section[key]
    if isinstance(value, str):
        value = VARIABLE.sub(lambda match: values.get(match.group(1), match.group(0)), value)
    if not isinstance(value, str) or not URL.fullmatch(value):
        raise section.refuse(key, "an http:// or https:// address")
    return value


def _rules(section: Section, values: Mapping[str, str]) -> dict[str, Any]:
    algorithms = section.strings("algorithms")
    if not algorithms or not set(algorithms) <= set(ALGORITHMS):
        raise section.refuse("algorithms", f"one or more of {', '.join(ALGORITHMS)}")
    return {
        "issuer": _url(section, "issuer", values),
        "algorithms": algorithms,
        "clock_skew_s": section.milliseconds("clockSkew") / 1000,
        **_grants(section),
    }


def _grants(section: Section) -> dict[str, Any]:
    return {
        "audiences": section.strings("audiences"),
        "scopes": section.strings("requiredScopes", WORD, "a list of scopes"),
        "claims": [_claim(entry) for entry in section.sections("requiredClaims")],
    }


def _claim(entry: Section) -> dict[str, Any]:
    entry = entry.with_defaults({"claim": None, **dict.fromkeys(TESTS)})
    given = [key for key in TESTS if entry[key] is not None]
    if not isinstance(entry["claim"], str) or not entry["claim"] or len(given) != 1:
        raise ConfigurationError(f"{entry.name}: needs 'claim' and exactly one of {', '.join(TESTS)}")
    key = given[0]
    wanted = entry[key] if key == "oneOf" else [entry[key]]
    if not isinstance(wanted, list) or not wanted or not all(_can_be_compared(value) for value in wanted):
        raise entry.refuse(key, f"made of strings, whole numbers of at most {MAX_INTEGER}, true and false")
    return {"name": entry["claim"], "test": TESTS[key], "values": wanted}


def _can_be_compared(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and abs(value) <= MAX_INTEGER)


def _routes(section: Section) -> list[dict[str, Any]]:
    routes = []
    for plain in section.sections("routes"):
        entry = plain.with_defaults(GRANT_DEFAULTS)
        path = entry.text("path", ROUTE_PATH, "a path such as /orders")
        routes.append({"path": path, **_grants(entry)})
    if len({route["path"] for route in routes}) != len(routes):
        raise ConfigurationError("POLICY.authentication.routes: a path is named twice")
    return sorted(routes, key=lambda route: len(route["path"]), reverse=True)
