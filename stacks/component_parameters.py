"""From settings to what images and instances are told: component parameters and the environment files of user data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from stacks.settings import HEALTH_PORT, ProjectSettings, SettingsError
from stacks.settings_network import is_host_name

NGINX_BUILDS = ("source", "distribution")
RUNTIMES = ("docker", "native")

# A value that CloudFormation fills in, as the AWS CDK writes it while synthesizing.
_TOKEN = re.compile(r"\$\{Token\[[A-Za-z0-9:._-]+\]\}")
_WORD = re.compile(r"[A-Za-z0-9._~/:@+,=%-]+", re.ASCII)
_SOURCE_BASE_URL = re.compile(r"(?:https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?|file://)(?:/[A-Za-z0-9._-]+)*", re.ASCII)
_ASSET_URL = re.compile(r"(?:s3|https|file)://[A-Za-z0-9_./%+=-]+", re.ASCII)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)


def proxy_parameters(
    settings: ProjectSettings, *, nginx_build: str, source_base_url: str, asset_url: str
) -> dict[str, str]:
    """The parameters of `components/secure_proxy/component.yaml`, all of them, as Image Builder wants them: strings.

    `nginx_build` is `source` or `distribution`; `source_base_url` (https or file, without a slash at its end) is where
    `owner/name` repositories are found; `asset_url` (s3, https or file) is where the component's directory is found.
    Raises `SettingsError` when the distribution build is asked for what only the source build has, and `ValueError` for
    arguments of another form.
    """
    _one_of("nginx_build", nginx_build, NGINX_BUILDS)
    _matching("source_base_url", source_base_url, _SOURCE_BASE_URL)
    _matching("asset_url", asset_url, _ASSET_URL)
    _refuse_what_the_distribution_lacks(settings, nginx_build)
    proxy = settings.proxy_settings
    return _strings(
        {
            "AssetUrl": asset_url,
            "NginxBuild": nginx_build,
            "SourceBaseUrl": source_base_url,
            "JailBaseDir": proxy.jail_base_dir,
            "ProxyBaseDir": proxy.proxy_base_dir,
            "ProxyWorkerProcesses": proxy.proxy_worker_processes,
            "ProxyWorkerConnections": proxy.proxy_worker_connections,
            "KeepaliveTimeout": proxy.keepalive_timeout,
            "WssProxyBindPort": proxy.wss_proxy_bind_port,
            "OAuthProxyBindPort": proxy.o_auth_proxy_bind_port,
            "HealthPort": HEALTH_PORT,
            "WssBackendPort": settings.wss_backend_port,
            "OAuthBackendPort": settings.o_auth_backend_port,
            "KernelPortsRangeStart": proxy.kernel_ports_range_start,
            "KernelPortsRangeEnd": proxy.kernel_ports_range_end,
            "ConnectTimeout": proxy.websockify_connect_timeout,
            "ReadTimeout": proxy.websockify_read_timeout,
            "SendTimeout": proxy.websockify_send_timeout,
            "CloudwatchLogGroup": proxy.proxy_cloudwatch_log_group,
            "Bridge": proxy.bridge,
        }
    )


def mock_parameters(settings: ProjectSettings, *, runtime: str, asset_url: str) -> dict[str, str]:
    """The parameters of `components/mock_servers/component.yaml`, all of them.

    `runtime` is `docker` or `native`; `asset_url` as in `proxy_parameters`. Raises `ValueError` for arguments of
    another form.
    """
    _one_of("runtime", runtime, RUNTIMES)
    _matching("asset_url", asset_url, _ASSET_URL)
    mocks = settings.mock_servers
    return _strings(
        {
            "AssetUrl": asset_url,
            "Runtime": runtime,
            "TcpServerPort": mocks.tcp_server_port,
            "OAuthServerPort": mocks.o_auth_server_port,
            "AuthorizerPort": mocks.authorizer_port,
        }
    )


def proxy_instance_environment(
    settings: ProjectSettings, *, backend_host: str, certificate_names: Sequence[str]
) -> dict[str, str]:
    """What a proxy instance is told at boot: `BACKEND_HOST`, `CERTIFICATE_NAMES` and `POLICY`.

    `backend_host` is the DNS name or IPv4 address of the internal load balancer, `certificate_names` those that the
    self-signed certificate is made for (at least one); both may be values that CloudFormation fills in. Raises
    `ValueError` for other names.
    """
    if not certificate_names:
        raise ValueError("certificate_names is empty; the certificate needs at least one name")
    policy = {
        "authentication": _as_json(settings.proxy_settings.authentication),
        "limits": _as_json(settings.proxy_settings.limits),
        "application": _as_json(settings.proxy_settings.application),
        "oAuthServer": _as_json(settings.proxy_settings.o_auth_server),
    }
    return {
        "BACKEND_HOST": _host("backend_host", backend_host),
        "CERTIFICATE_NAMES": ",".join(_host("certificate_names", name) for name in certificate_names),
        "POLICY": json.dumps(policy, separators=(",", ":"), sort_keys=True),
    }


def mock_instance_environment(*, backend_host: str) -> dict[str, str]:
    """What a mock-servers instance is told at boot: `BACKEND_HOST`, the name under which clients reach it."""
    return {"BACKEND_HOST": _host("backend_host", backend_host)}


def render_environment(variables: Mapping[str, str]) -> str:
    """The file of `KEY=VALUE` lines that user data consists of; it reads the same to a shell and to shell-like parsers.

    Values of more than plain characters stand in single quotes. Raises `ValueError` for a name that is not
    UPPER_CASE and for a value with a single quote, a line break or another control character, which would need more.
    """
    lines = ["# Read once at boot by secure-proxy. Made from cdk.json by stacks/component_parameters.py."]
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is not a variable name of capital letters, digits and underscores")
        if "'" in value or not value.isprintable():
            raise ValueError(f"{name} holds a single quote or a control character")
        lines.append(f"{name}={value}" if _WORD.fullmatch(value) else f"{name}='{value}'")
    return "\n".join(lines) + "\n"


def _refuse_what_the_distribution_lacks(settings: ProjectSettings, nginx_build: str) -> None:
    proxy = settings.proxy_settings
    if nginx_build != "distribution":
        return
    lacking = [
        (
            f"projectSettings.proxySettings.{key}",
            f'"{value}" needs NginxBuild=source, allowed: `{instead}` with distribution',
        )
        for key, value, missing, instead in (
            ("bridge", proxy.bridge, "websockify", "lua"),
            ("authentication.provider", proxy.authentication.provider, "openidc", "external"),
        )
        if value == missing
    ]
    if lacking:
        raise SettingsError.of("cdk.json", lacking)


def _as_json(group: BaseModel) -> object:
    return group.model_dump(mode="json", by_alias=True)


def _strings(parameters: Mapping[str, str | int]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items()}


def _one_of(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} {value!r} is unknown; allowed: {' or '.join(allowed)}")


def _matching(argument: str, value: str, form: re.Pattern[str]) -> None:
    if not form.fullmatch(_TOKEN.sub("token", value)):
        raise ValueError(f"{argument} {value!r} has another form than {form.pattern}")


def _host(argument: str, host: str) -> str:
    if not is_host_name(_TOKEN.sub("token", host)):
        raise ValueError(f"{argument} {host!r} is neither a DNS name nor an IPv4 address")
    return host
