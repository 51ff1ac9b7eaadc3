"""What images and instances are told: equal to what the documents declare, safe in a shell, refused when impossible."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from stacks.component_parameters import (
    mock_instance_environment,
    mock_parameters,
    proxy_instance_environment,
    proxy_parameters,
    render_environment,
)
from stacks.settings import ProjectSettings, SettingsError, load_settings
from tests.shipped_programs import put_on_path
from tests.unit.settings_support import REPOSITORY, parsed

ASSET = "s3://bucket/asset.zip"
HOST = "mock-servers.secure-proxy.internal"
DISTRIBUTION: dict[str, object] = {"proxySettings.authentication.provider": "external"}


def proxy(settings: ProjectSettings, **changed: str) -> dict[str, str]:
    arguments = {"nginx_build": "source", "source_base_url": "https://github.com", "asset_url": ASSET}
    return proxy_parameters(settings, **{**arguments, **changed})


def declared(document: Path) -> list[str]:
    """The names of the parameters that a component document declares."""
    parameters = yaml.safe_load(document.read_text())["parameters"]
    return sorted(name for entry in parameters for name in entry)


def test_proxy_parameters_are_those_that_the_document_declares() -> None:
    assert sorted(proxy(load_settings())) == declared(REPOSITORY / "components/secure_proxy/component.yaml")


def test_mock_parameters_are_those_that_the_document_declares() -> None:
    given = mock_parameters(load_settings(), runtime="docker", asset_url=ASSET)
    assert sorted(given) == declared(REPOSITORY / "components/mock_servers/component.yaml")


def test_proxy_parameters_carry_the_settings() -> None:
    assert proxy(load_settings()) == {
        "AssetUrl": ASSET,
        "NginxBuild": "source",
        "SourceBaseUrl": "https://github.com",
        "JailBaseDir": "/nginx",
        "ProxyBaseDir": "/etc/nginx",
        "ProxyWorkerProcesses": "auto",
        "ProxyWorkerConnections": "16384",
        "KeepaliveTimeout": "120",
        "WssProxyBindPort": "10000",
        "OAuthProxyBindPort": "11080",
        "HealthPort": "8080",
        "WssBackendPort": "9000",
        "OAuthBackendPort": "10080",
        "KernelPortsRangeStart": "32768",
        "KernelPortsRangeEnd": "61000",
        "ConnectTimeout": "30s",
        "ReadTimeout": "60s",
        "SendTimeout": "60s",
        "CloudwatchLogGroup": "SecureProxy",
        "Bridge": "lua",
    }


def test_each_changed_setting_changes_its_own_parameter() -> None:
    changes: dict[str, tuple[object, str]] = {
        "proxySettings.jailBaseDir": ("/srv/jail", "JailBaseDir"),
        "proxySettings.proxyBaseDir": ("/etc/proxy", "ProxyBaseDir"),
        "proxySettings.proxyWorkerProcesses": ("3", "ProxyWorkerProcesses"),
        "proxySettings.proxyWorkerConnections": (77, "ProxyWorkerConnections"),
        "proxySettings.keepaliveTimeout": (7, "KeepaliveTimeout"),
        "proxySettings.kernel_ports_range_start": (33000, "KernelPortsRangeStart"),
        "proxySettings.kernel_ports_range_end": (60000, "KernelPortsRangeEnd"),
        "proxySettings.websockifyConnectTimeout": ("1s", "ConnectTimeout"),
        "proxySettings.websockifyReadTimeout": ("2s", "ReadTimeout"),
        "proxySettings.websockifySendTimeout": ("3s", "SendTimeout"),
        "proxySettings.proxyCloudwatchLogGroup": ("Proxy", "CloudwatchLogGroup"),
        "proxySettings.bridge": ("websockify", "Bridge"),
    }
    before = proxy(load_settings())
    for key, (value, parameter) in changes.items():
        after = proxy(load_settings(overrides={key: value}))
        assert {name for name in after if after[name] != before[name]} == {parameter}
        assert after[parameter] == str(value)


def test_mock_parameters_carry_the_settings() -> None:
    assert mock_parameters(load_settings(), runtime="native", asset_url=ASSET) == {
        "AssetUrl": ASSET,
        "Runtime": "native",
        "TcpServerPort": "9000",
        "OAuthServerPort": "10080",
        "AuthorizerPort": "10090",
    }


def test_the_distribution_build_refuses_what_it_lacks_all_at_once() -> None:
    settings = load_settings(overrides={"proxySettings.bridge": "websockify"})
    with pytest.raises(SettingsError) as caught:
        proxy(settings, nginx_build="distribution")
    found = parsed(str(caught.value))
    assert list(found) == ["proxySettings.bridge", "proxySettings.authentication.provider"]
    assert found["proxySettings.bridge"] == '"websockify" needs NginxBuild=source, allowed: `lua` with distribution'


def test_the_distribution_build_takes_what_it_has() -> None:
    assert proxy(load_settings(overrides=DISTRIBUTION), nginx_build="distribution")["NginxBuild"] == "distribution"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("nginx_build", "debug"),
        ("nginx_build", ""),
        ("source_base_url", "http://github.com"),
        ("source_base_url", "https://github.com/"),
        ("source_base_url", "https://user@github.com"),
        ("source_base_url", "git@github.com:"),
        ("source_base_url", "file:///a b"),
        ("source_base_url", "file:///a;b"),
        ("source_base_url", ""),
        ("asset_url", "/local/path"),
        ("asset_url", ""),
        ("asset_url", "s3://bucket/a b"),
        ("asset_url", "s3://bucket/$(reboot)"),
        ("asset_url", "s3://bucket/a'b"),
    ],
)
def test_arguments_of_another_form_are_refused(argument: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"unknown|another form"):
        proxy(load_settings(), **{argument: value})


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(ValueError, match="docker or native"):
        mock_parameters(load_settings(), runtime="podman", asset_url=ASSET)


@pytest.mark.parametrize(
    "url", ["https://github.com", "file:///tmp/mirror", "https://git.company.com:8443/mirrors/a_b"]
)
def test_mirrors_are_accepted(url: str) -> None:
    assert proxy(load_settings(), source_base_url=url)["SourceBaseUrl"] == url


def test_values_that_cloudformation_fills_in_pass() -> None:
    token = "${Token[TOKEN.123]}"
    assert proxy(load_settings(), asset_url=f"s3://{token}/{token}.zip")["AssetUrl"] == f"s3://{token}/{token}.zip"
    environment = proxy_instance_environment(
        load_settings(), backend_host=token, certificate_names=[token, "localhost"]
    )
    assert environment["BACKEND_HOST"] == token
    assert environment["CERTIFICATE_NAMES"] == f"{token},localhost"
    assert f"BACKEND_HOST='{token}'" in render_environment(environment)


@pytest.mark.parametrize(
    "host", ["", "a b", "a;b", "-a", "a_b", "300.1.1.1", "1.2.3", "a..b", "a/b", "a:1", "x" * 64, "$HOME"]
)
def test_hosts_of_another_form_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor an IPv4 address"):
        proxy_instance_environment(load_settings(), backend_host=host, certificate_names=["localhost"])
    with pytest.raises(ValueError, match="neither a DNS name nor an IPv4 address"):
        proxy_instance_environment(load_settings(), backend_host="localhost", certificate_names=["localhost", host])
    with pytest.raises(ValueError, match="neither a DNS name nor an IPv4 address"):
        mock_instance_environment(backend_host=host)


def test_a_certificate_without_names_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one name"):
        proxy_instance_environment(load_settings(), backend_host=HOST, certificate_names=[])


def test_the_policy_is_what_the_settings_say() -> None:
    overrides: dict[str, object] = {
        "proxySettings.authentication.audiences": ["api://proxy"],
        "proxySettings.limits.maxSessionAge": "1h",
    }
    environment = proxy_instance_environment(
        load_settings(overrides=overrides), backend_host=HOST, certificate_names=["localhost", "127.0.0.1"]
    )
    assert environment["CERTIFICATE_NAMES"] == "localhost,127.0.0.1"
    policy = json.loads(environment["POLICY"])
    assert set(policy) == {"authentication", "limits", "application", "oAuthServer"}
    shipped = json.loads((REPOSITORY / "cdk.json").read_text())["projectSettings"]["proxySettings"]
    assert policy["authentication"] == {**shipped["authentication"], "audiences": ["api://proxy"]}
    assert policy["limits"] == {**shipped["limits"], "maxSessionAge": "1h"}
    assert policy["application"] == shipped["application"]
    assert policy["oAuthServer"] == shipped["oAuthServer"]


def test_a_shell_reads_back_what_was_rendered(tmp_path: Path) -> None:
    environment = proxy_instance_environment(load_settings(), backend_host=HOST, certificate_names=["localhost"])
    file = tmp_path / "instance.env"
    file.write_text(render_environment(environment))
    output = subprocess.run(
        ["bash", "-c", "set -a; . ./instance.env; env -0"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    seen = dict(line.split("=", 1) for line in output.split("\0") if line)
    assert {name: seen[name] for name in environment} == environment


def test_the_instance_reads_back_what_was_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(monkeypatch, REPOSITORY / "components/secure_proxy/rootfs/usr/libexec/secure-proxy")
    reader = importlib.import_module("proxy_configuration.environment")
    policy = importlib.import_module("proxy_configuration.policy")
    environment = proxy_instance_environment(
        load_settings(overrides=DISTRIBUTION), backend_host=HOST, certificate_names=["localhost"]
    )
    values = reader.parse_environment(render_environment(environment), "user data")
    assert values == environment
    image = {"NGINX_BUILD": "distribution", "OAUTH_BACKEND_PORT": "10080", "PROXY_WORKER_CONNECTIONS": "16384"}
    read = policy.Policy(values["POLICY"], {**image, **values})
    assert read.authentication["issuers"][0]["issuer"] == f"http://{HOST}:10080/awsexample"
    assert read.authentication["authorizer_url"] == f"http://{HOST}:10090/authorize"
    assert read.limits["drain_timeout_ms"] == 30_000


def test_a_mock_instance_is_told_its_name() -> None:
    assert mock_instance_environment(backend_host=HOST) == {"BACKEND_HOST": HOST}


def test_a_rendered_file_begins_with_a_comment() -> None:
    assert render_environment({"A": "b"}).splitlines()[1:] == ["A=b"]
    assert render_environment({"A": ""}).splitlines()[1:] == ["A=''"]
    assert render_environment({}).startswith("# ")


@pytest.mark.parametrize("name", ["", "a", "A-B", "1A", "A B", "A\n"])
def test_variable_names_of_another_form_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a variable name"):
        render_environment({name: "x"})


@pytest.mark.parametrize("value", ["a'b", "a\nb", "a\0b", "a\x1bb", "a\rb"])
def test_values_that_one_line_cannot_hold_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="single quote or a control character"):
        render_environment({"A": value})
