"""From options and settings to what is to be deployed: decided, or refused, whole before anything is made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address

from local.deployment import BACKEND_HOST
from local.errors import UsageError
from local.record import Ports
from local.sources import mirror_directory
from stacks.component_parameters import proxy_parameters
from stacks.settings import HEALTH_PORT, ProjectSettings, SettingsError, load_settings

DEFAULT_SOURCE_BASE_URL = "https://github.com"
DEFAULT_LISTEN = IPv4Address("127.0.0.1")


@dataclass(frozen=True)
class UpOptions:
    """What `up` was asked for; None where cdk.json or the build decide."""

    nginx_build: str = "distribution"
    source_base_url: str = DEFAULT_SOURCE_BASE_URL
    bridge: str | None = None
    authentication: str | None = None
    proxies: int = 1
    listen: IPv4Address = DEFAULT_LISTEN

    def overrides(self) -> dict[str, object]:
        """The settings that the options replace."""
        changes: dict[str, object] = {"proxyFleet.minCapacity": self.proxies}
        if self.bridge:
            changes["proxySettings.bridge"] = self.bridge
        provider = self.authentication or ("external" if self.nginx_build == "distribution" else None)
        if provider:
            changes["proxySettings.authentication.provider"] = provider
        return changes

    def context(self) -> dict[str, str]:
        """The context that makes the CDK app what the options say; see `stacks.options`."""
        context = {"nginxBuild": self.nginx_build, "sourceBaseUrl": self.source_base_url, "mockRuntime": "native"}
        settings = {f"projectSettings.{path}": value for path, value in self.overrides().items()}
        return context | {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()
        }


@dataclass(frozen=True)
class Plan:
    """All that `up` will do."""

    options: UpOptions
    settings: ProjectSettings

    @property
    def ports(self) -> Ports:
        """The ports that the settings say."""
        settings = self.settings
        return Ports(
            wss=settings.proxy_settings.wss_proxy_bind_port,
            oauth=settings.proxy_settings.o_auth_proxy_bind_port,
            health=HEALTH_PORT,
        )

    @property
    def public_ports(self) -> tuple[int, int]:
        return self.ports.wss, self.ports.oauth

    @property
    def issuer(self) -> str:
        """The configured issuer with the placeholders that an instance fills in."""
        issuer = self.settings.proxy_settings.authentication.issuer
        return issuer.replace("${BACKEND_HOST}", BACKEND_HOST).replace(
            "${OAUTH_BACKEND_PORT}", str(self.settings.o_auth_backend_port)
        )

    def describe(self) -> list[str]:
        """The plan in words, a line each."""
        proxy = self.settings.proxy_settings
        source = f" from {self.options.source_base_url}" if self.options.nginx_build == "source" else ""
        return [
            f"NGINX build     {self.options.nginx_build}{source}",
            f"bridge          {proxy.bridge}",
            f"authentication  {proxy.authentication.provider}, issuer {self.issuer}",
            f"proxies         {self.options.proxies}",
            f"listeners       {self.options.listen}, ports {self.ports.wss} (wss) and {self.ports.oauth} (https)",
        ]


def make_plan(options: UpOptions) -> Plan:
    """The plan for `options`. Raises `UsageError` for whatever does not fit together."""
    mirror_directory(options.source_base_url)
    try:
        settings = load_settings(overrides=options.overrides())
        # Whether the build can do what the settings ask for: the CDK app would refuse the same, a minute later.
        proxy_parameters(
            settings,
            nginx_build=options.nginx_build,
            source_base_url=options.source_base_url,
            asset_url="s3://bucket/directory.zip",
        )
    except (SettingsError, ValueError) as error:
        raise UsageError(_with_remedies(str(error), options)) from None
    return Plan(options, settings)


def _with_remedies(text: str, options: UpOptions) -> str:
    if options.nginx_build == "distribution" and "NginxBuild=source" in text:
        return f"{text}\nchoose otherwise with --bridge and --authentication, or build with --nginx-build source"
    return text
