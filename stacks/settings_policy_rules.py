"""Rules that join settings about tokens, certificates and what is behind the proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from stacks.settings_models import ProjectSettings
from stacks.settings_network import BACKEND_HOST, OAUTH_BACKEND_PORT
from stacks.settings_rule import Problem, Rule, problem

# User data is at most 16 KB (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html); names come on top.
_POLICY_BYTES = 15_000

_AUTHENTICATION = "proxySettings.authentication"
BRIDGE = "proxySettings.bridge"
OAUTH_PORT = "proxySettings.oAuthProxyBindPort"
FACTOR = "proxySettings.proxyPortScaleFactor"
COOKIE = f"{_AUTHENTICATION}.tokenCookie"
ORIGINS = "proxySettings.limits.allowedOrigins"
ISSUER = f"{_AUTHENTICATION}.issuer"
FURTHER_ISSUERS = f"{_AUTHENTICATION}.furtherIssuers"
ROUTES = f"{_AUTHENTICATION}.routes"
MODE = f"{_AUTHENTICATION}.clientCertificates.mode"
AUTHORITIES = f"{_AUTHENTICATION}.clientCertificates.caCertificates"
REVOCATION_LISTS = f"{_AUTHENTICATION}.clientCertificates.revocationLists"
PROXY_PROTOCOL = "proxySettings.application.proxyProtocol"
APPLICATION_TLS = "proxySettings.application.tls"
APPLICATION_CERTIFICATE = "proxySettings.application.clientCertificate"
APPLICATION_AUTHORITIES = "proxySettings.application.caCertificates"
OAUTH_TLS = "proxySettings.oAuthServer.tls"
OAUTH_CERTIFICATE = "proxySettings.oAuthServer.clientCertificate"
OAUTH_AUTHORITIES = "proxySettings.oAuthServer.caCertificates"


def _cookie_needs_origins(settings: ProjectSettings) -> Iterator[Problem]:
    proxy = settings.proxy_settings
    if proxy.authentication.token_cookie and not proxy.limits.allowed_origins:
        wrong = "is set, and browsers send cookies for any page that asks them to connect"
        yield problem(COOKIE, wrong, f"an empty name, or {ORIGINS} that name your pages")


def _distinct_issuers(settings: ProjectSettings) -> Iterator[Problem]:
    authentication = settings.proxy_settings.authentication
    seen = {authentication.issuer}
    for index, rules in enumerate(authentication.further_issuers):
        if rules.issuer in seen:
            wrong = f"{json.dumps(rules.issuer)} has rules already"
            yield problem(f"{FURTHER_ISSUERS}[{index}].issuer", wrong, "an issuer that is not named before")
        seen.add(rules.issuer)


def _issuers_behind_the_proxy(settings: ProjectSettings) -> Iterator[Problem]:
    authentication, port = settings.proxy_settings.authentication, settings.o_auth_backend_port
    issuers = {ISSUER: authentication.issuer}
    issuers |= {
        f"{FURTHER_ISSUERS}[{n}].issuer": rules.issuer for n, rules in enumerate(authentication.further_issuers)
    }
    for path, url in issuers.items():
        netloc = urlsplit(url).netloc
        if BACKEND_HOST in netloc and netloc not in (f"{BACKEND_HOST}:{OAUTH_BACKEND_PORT}", f"{BACKEND_HOST}:{port}"):
            wrong = f"{json.dumps(url)} is on the internal load balancer, which has no OAuth server on that port"
            yield problem(path, wrong, f"`http://{BACKEND_HOST}:{OAUTH_BACKEND_PORT}/…`, or a host of your own")


def _distinct_routes(settings: ProjectSettings) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, route in enumerate(settings.proxy_settings.authentication.routes):
        if route.path in seen:
            yield problem(f"{ROUTES}[{index}].path", f'"{route.path}" is a route already', "a path of its own")
        seen.add(route.path)


def _client_authorities(settings: ProjectSettings) -> Iterator[Problem]:
    certificates = settings.proxy_settings.authentication.client_certificates
    if certificates.mode != "off" and not certificates.ca_certificates:
        wrong = f"is empty, so {MODE} {certificates.mode} would accept no certificate"
        yield problem(AUTHORITIES, wrong, "at least one authority, or `off`")
    if certificates.mode == "off" and certificates.revocation_lists:
        yield problem(REVOCATION_LISTS, f"is not used while {MODE} is off", "an empty list, or another mode")


def _certificates_need_tls(settings: ProjectSettings) -> Iterator[Problem]:
    proxy = settings.proxy_settings
    for path, server, tls in (
        (APPLICATION_CERTIFICATE, proxy.application, APPLICATION_TLS),
        (OAUTH_CERTIFICATE, proxy.o_auth_server, OAUTH_TLS),
    ):
        if server.client_certificate and not server.tls:
            yield problem(path, f"is true without {tls}", f"`false`, or `true` as {tls}")


def _application_of_websockify(settings: ProjectSettings) -> Iterator[Problem]:
    proxy = settings.proxy_settings
    if proxy.bridge != "websockify":
        return
    for path, given in ((PROXY_PROTOCOL, proxy.application.proxy_protocol), (APPLICATION_TLS, proxy.application.tls)):
        if given:
            yield problem(path, f"is true, but {BRIDGE} websockify speaks plain TCP", f"`false`, or `lua` as {BRIDGE}")


def _policy_fits_user_data(settings: ProjectSettings) -> Iterator[Problem]:
    proxy = settings.proxy_settings
    groups = (proxy.authentication, proxy.limits, proxy.application, proxy.o_auth_server)
    size = sum(len(json.dumps(group.model_dump(mode="json", by_alias=True))) for group in groups)
    if size > _POLICY_BYTES:
        wrong = f"and the other settings of instances take {size} bytes of user data"
        yield problem(AUTHORITIES, wrong, f"{_POLICY_BYTES} bytes together; name fewer or shorter certificates")


POLICY_RULES = (
    Rule(
        f"`{COOKIE}` is set only together with `{ORIGINS}`: browsers send cookies for any page.",
        (COOKIE, ORIGINS),
        _cookie_needs_origins,
    ),
    Rule(
        f"No issuer is named twice in `{ISSUER}` and `{FURTHER_ISSUERS}`.", (ISSUER, FURTHER_ISSUERS), _distinct_issuers
    ),
    Rule(f"No path is named twice in `{ROUTES}`.", (ROUTES,), _distinct_routes),
    Rule(
        f"`{ISSUER}` and those of `{FURTHER_ISSUERS}`, where they are on `{BACKEND_HOST}`, have the port "
        f"`{OAUTH_PORT}` minus `{FACTOR}`.",
        (ISSUER, FURTHER_ISSUERS, OAUTH_PORT, FACTOR),
        _issuers_behind_the_proxy,
    ),
    Rule(
        f"`{AUTHORITIES}` is not empty unless `{MODE}` is `off`, and then `{REVOCATION_LISTS}` is empty.",
        (MODE, AUTHORITIES, REVOCATION_LISTS),
        _client_authorities,
    ),
    Rule(
        f"`{APPLICATION_CERTIFICATE}` is `true` only with `{APPLICATION_TLS}`, and `{OAUTH_CERTIFICATE}` only with "
        f"`{OAUTH_TLS}`.",
        (APPLICATION_CERTIFICATE, APPLICATION_TLS, OAUTH_CERTIFICATE, OAUTH_TLS),
        _certificates_need_tls,
    ),
    Rule(
        f"`{PROXY_PROTOCOL}` and `{APPLICATION_TLS}` are `false` with `{BRIDGE}` `websockify`.",
        (BRIDGE, PROXY_PROTOCOL, APPLICATION_TLS),
        _application_of_websockify,
    ),
    Rule(
        f"`{AUTHORITIES}`, `{REVOCATION_LISTS}`, `{APPLICATION_AUTHORITIES}`, `{OAUTH_AUTHORITIES}`, "
        f"`{FURTHER_ISSUERS}`, `{ROUTES}` and whatever else instances are told at boot fit into {_POLICY_BYTES} bytes.",
        (AUTHORITIES, REVOCATION_LISTS, APPLICATION_AUTHORITIES, OAUTH_AUTHORITIES, FURTHER_ISSUERS, ROUTES),
        _policy_fits_user_data,
    ),
)
