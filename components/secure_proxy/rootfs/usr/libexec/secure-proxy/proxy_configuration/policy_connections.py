"""`application` and `oAuthServer` of the policy: how the proxy connects to what is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from proxy_configuration.errors import ConfigurationError
from proxy_configuration.values import Section, is_host

DEFAULTS: Mapping[str, Any] = {
    "proxyProtocol": False,
    "tls": False,
    "serverName": "",
    "caCertificates": [],
    "clientCertificate": False,
}


class Connection(NamedTuple):
    """How to connect, with the authorities that the server's certificate is checked against (none: public ones)."""

    proxy_protocol: bool
    tls: bool
    server_name: str
    authorities: list[str]
    client_certificate: bool


def read(section: Section, host: str) -> Connection:
    """Check one of the sections; `host` is the server name that is expected unless another one is given."""
    defaults = dict(DEFAULTS)
    if section.name.endswith("oAuthServer"):
        del defaults["proxyProtocol"]
    section = section.with_defaults(defaults)
    name = section["serverName"] or host
    if not isinstance(name, str) or (section["tls"] and not is_host(name)):
        raise section.refuse("serverName", "a DNS name")
    connection = Connection(
        proxy_protocol="proxyProtocol" in defaults and section.flag("proxyProtocol"),
        tls=section.flag("tls"),
        server_name=name,
        authorities=section.certificates("caCertificates"),
        client_certificate=section.flag("clientCertificate"),
    )
    if connection.client_certificate and not connection.tls:
        raise ConfigurationError(f"{section.name}.clientCertificate: needs tls")
    return connection
