"""From options and settings to what is to be built and run: decided, or refused, whole before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from local.assets import zip_directory
from local.build import Component, ImageRequest
from local.deployment import BACKEND_HOST, MOCKS, PROXY
from local.document import load_document
from local.errors import UsageError
from local.images import new_image_id
from local.layout import REPOSITORY
from local.record import Ports
from local.sources import mirror_directory
from local.substitution import substitute
from stacks.component_parameters import (
    mock_instance_environment,
    mock_parameters,
    proxy_instance_environment,
    proxy_parameters,
    render_environment,
)
from stacks.content_version import IGNORED_PATTERNS, content_version
from stacks.settings import HEALTH_PORT, ProjectSettings, SettingsError, load_settings

COMPONENTS = {PROXY: REPOSITORY / "components/secure_proxy", MOCKS: REPOSITORY / "components/mock_servers"}
DEFAULT_SOURCE_BASE_URL = "https://github.com"
DEFAULT_LISTEN = IPv4Address("127.0.0.1")
OIDC_ISSUER_ID = "awsexample"

_DOCUMENTS = ("component.yaml", "test_component.yaml")


@dataclass(frozen=True)
class UpOptions:
    """What `up` was asked for; None where cdk.json or the build decide."""

    nginx_build: str = "distribution"
    source_base_url: str = DEFAULT_SOURCE_BASE_URL
    bridge: str | None = None
    authentication: str | None = None
    rebuild: bool = False
    listen: IPv4Address = DEFAULT_LISTEN

    def overrides(self) -> dict[str, object]:
        """The settings that the options replace."""
        changes: dict[str, object] = {}
        if self.bridge:
            changes["proxySettings.bridge"] = self.bridge
        provider = self.authentication or ("external" if self.nginx_build == "distribution" else None)
        if provider:
            changes["proxySettings.authentication.provider"] = provider
        return changes


@dataclass(frozen=True)
class PlannedImage:
    """An image to be there: its version follows from its component's files and parameters."""

    name: str
    version: str
    directory: Path
    parameters: Mapping[str, str]

    def request(self, scratch: Path) -> ImageRequest:
        """The build request; the component's zip file is written into `scratch`."""
        archive = scratch / f"{self.name}.zip"
        zip_directory(self.directory, archive, IGNORED_PATTERNS)
        return ImageRequest(
            new_image_id(), self.name, self.version, self.components(), {self.parameters["AssetUrl"]: archive}
        )

    def components(self) -> tuple[Component, ...]:
        """The documents, each with those of the parameters that it declares."""
        loaded = [(name, load_document(self.directory / name)) for name in _DOCUMENTS]
        return tuple(
            Component(
                source, document, {key: value for key, value in self.parameters.items() if key in document.parameters}
            )
            for source, document in loaded
        )


@dataclass(frozen=True)
class Plan:
    """All that `up` will do."""

    options: UpOptions
    settings: ProjectSettings
    images: tuple[PlannedImage, ...]
    ports: Ports
    issuer: str
    user_data: Mapping[str, str]

    @property
    def public_ports(self) -> tuple[int, int]:
        return self.ports.wss, self.ports.oauth

    def describe(self) -> list[str]:
        """The plan in words, a line each."""
        proxy = self.settings.proxy_settings
        source = f" from {self.options.source_base_url}" if self.options.nginx_build == "source" else ""
        return [
            f"NGINX build     {self.options.nginx_build}{source}",
            f"bridge          {proxy.bridge}",
            f"authentication  {proxy.authentication.provider}, issuer {self.issuer}",
            *(f"image           {image.name} {image.version}" for image in self.images),
            f"listeners       {self.options.listen}, ports {self.ports.wss} (wss) and {self.ports.oauth} (https)",
        ]


def make_plan(options: UpOptions) -> Plan:
    """The plan for `options`. Raises `UsageError` or `DocumentError` for whatever does not fit together."""
    mirror_directory(options.source_base_url)
    try:
        settings = load_settings(overrides=options.overrides())
        images = tuple(_image(name, directory, settings, options) for name, directory in COMPONENTS.items())
        user_data = {
            PROXY: render_environment(
                proxy_instance_environment(
                    settings,
                    backend_host=BACKEND_HOST,
                    certificate_names=list(dict.fromkeys(["localhost", "127.0.0.1", str(options.listen)])),
                )
            ),
            MOCKS: render_environment(mock_instance_environment(settings, backend_host=BACKEND_HOST)),
        }
    except (SettingsError, ValueError) as error:
        raise UsageError(_with_remedies(str(error), options)) from None
    for image in images:
        for component in image.components():
            substitute(component.document, component.parameters, component.source)
    return Plan(options, settings, images, _ports(settings), _issuer(settings), user_data)


def _image(name: str, directory: Path, settings: ProjectSettings, options: UpOptions) -> PlannedImage:
    content = content_version([directory], {})
    # On AWS the asset's address follows from its content too.
    asset = f"s3://local-assets/{name}/{content}.zip"
    if name == PROXY:
        parameters = proxy_parameters(
            settings, nginx_build=options.nginx_build, source_base_url=options.source_base_url, asset_url=asset
        )
    else:
        parameters = mock_parameters(settings, runtime="native", asset_url=asset)
    return PlannedImage(name, content_version([directory], parameters), directory, parameters)


def _ports(settings: ProjectSettings) -> Ports:
    return Ports(
        wss=settings.proxy_settings.wss_proxy_bind_port,
        oauth=settings.proxy_settings.o_auth_proxy_bind_port,
        health=HEALTH_PORT,
        tcp_backend=settings.wss_backend_port,
        oauth_backend=settings.o_auth_backend_port,
        authorizer=settings.mock_servers.authorizer_port,
    )


def _issuer(settings: ProjectSettings) -> str:
    """The configured issuer with the placeholders that an instance fills in."""
    issuer = settings.proxy_settings.authentication.issuer
    return issuer.replace("${BACKEND_HOST}", BACKEND_HOST).replace(
        "${OAUTH_BACKEND_PORT}", str(settings.o_auth_backend_port)
    )


def _with_remedies(text: str, options: UpOptions) -> str:
    if options.nginx_build == "distribution" and "NginxBuild=source" in text:
        return f"{text}\nchoose otherwise with --bridge and --authentication, or build with --nginx-build source"
    return text
