"""Settings about tokens that are lists of objects, and the rules that join them."""

from __future__ import annotations

import importlib
import subprocess
from typing import Any

import pytest

from stacks.component_parameters import proxy_instance_environment
from stacks.settings import ProjectSettings, load_settings
from tests.shipped_programs import put_on_path
from tests.unit.settings_support import REPOSITORY, problems

AUTHENTICATION = "proxySettings.authentication"
CERTIFICATES = f"{AUTHENTICATION}.clientCertificates"
HOST = "backend.example.com"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("authority")
    key, authority = str(directory / "key.pem"), str(directory / "ca.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", authority, "-subj", "/CN=clients"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return (directory / "ca.pem").read_text()


@pytest.mark.parametrize(
    ("key", "value", "path", "text"),
    [
        ("requiredClaims", [{"equals": 1}], "requiredClaims[0].claim", "is missing"),
        ("requiredClaims", [{"claim": "a"}], "requiredClaims[0]", "exactly one of"),
        ("requiredClaims", [{"claim": "a", "equals": 1, "contains": 2}], "requiredClaims[0]", "exactly one of"),
        ("requiredClaims", [{"claim": "a", "equals": 1.5}], "requiredClaims[0].equals", "1.5 is not a string"),
        ("requiredClaims", [{"claim": "a", "equals": 2**53}], "requiredClaims[0].equals", "cannot tell from its"),
        (
            "requiredClaims",
            [{"claim": "a", "contains": -(2**53)}],
            "requiredClaims[0].contains",
            "cannot tell from its",
        ),
        ("requiredClaims", [{"claim": "a", "oneOf": []}], "requiredClaims[0].oneOf", "has too few entries"),
        ("requiredClaims", [{"claim": "a", "equal": 1}], "requiredClaims[0].equal", "is not a known key"),
        ("requiredClaims", ["admin"], "requiredClaims[0]", "is not an object"),
        ("issuer", "http://${BACKEND_HOST}:8443/awsexample", "issuer", "no OAuth server on that port"),
        ("issuer", "http://${BACKEND_HOST}/awsexample", "issuer", "no OAuth server on that port"),
        ("furtherIssuers", [{"issuer": "http://${BACKEND_HOST}:1/a"}], "furtherIssuers[0].issuer", "on that port"),
        ("furtherIssuers", [{"audiences": ["a"]}], "furtherIssuers[0].issuer", "is missing"),
        ("furtherIssuers", [{"issuer": "http://a", "algorithms": ["none"]}], "furtherIssuers[0].algorithms[0]", "sign"),
        ("furtherIssuers", [{"issuer": "http://a"}, {"issuer": "http://a"}], "furtherIssuers[1].issuer", "already"),
        ("routes", [{"path": "orders"}], "routes[0].path", "has another form"),
        ("routes", [{"path": "/a/../b"}], "routes[0].path", "NGINX would write"),
        ("routes", [{"path": "/.secure-proxy/x"}], "routes[0].path", "ask about their sessions"),
        ("routes", [{"path": "/a"}, {"path": "/a"}], "routes[1].path", "is a route already"),
        ("tokenCookie", "session", "tokenCookie", "browsers send cookies for any page"),
        ("clientCertificates", {"mode": "required"}, "clientCertificates.caCertificates", "no certificate"),
        ("clientCertificates", {"caCertificates": ["x"]}, "clientCertificates.caCertificates[0]", "is not such PEM"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(key: str, value: object, path: str, text: str) -> None:
    found = problems({f"{AUTHENTICATION}.{key}": value})
    assert text in found[f"{AUTHENTICATION}.{path}"]


@pytest.mark.parametrize("server", ["application", "oAuthServer"])
def test_a_client_certificate_without_tls_is_refused(server: str) -> None:
    path = f"proxySettings.{server}.clientCertificate"
    assert "is true without" in problems({path: True})[path]


@pytest.mark.parametrize("key", ["proxyProtocol", "tls"])
def test_the_websockify_bridge_cannot_prepare_the_application_s_connection(key: str) -> None:
    path = f"proxySettings.application.{key}"
    assert "speaks plain TCP" in problems({"proxySettings.bridge": "websockify", path: True})[path]


def test_a_policy_too_large_for_user_data_is_refused(certificate: str) -> None:
    found = problems({f"{CERTIFICATES}.mode": "required", f"{CERTIFICATES}.caCertificates": [certificate * 30]})
    assert "bytes of user data" in found[f"{CERTIFICATES}.caCertificates"]


def test_a_private_key_is_not_taken_for_a_certificate(certificate: str) -> None:
    key = certificate.replace("CERTIFICATE", "PRIVATE KEY")
    assert (
        "is not such PEM text"
        in problems({f"{CERTIFICATES}.caCertificates": [key]})[f"{CERTIFICATES}.caCertificates[0]"]
    )


def test_the_boot_configuration_reads_a_full_policy_as_it_was_meant(
    certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(
        overrides={
            f"{AUTHENTICATION}.requiredClaims": [{"claim": "level", "oneOf": [1, "x", True]}],
            f"{AUTHENTICATION}.furtherIssuers": [
                {"issuer": "https://login.example.com/", "algorithms": ["ES256", "PS512"]}
            ],
            f"{AUTHENTICATION}.routes": [{"path": "/a"}, {"path": "/a/b", "requiredScopes": ["s"]}],
            f"{CERTIFICATES}.mode": "required",
            f"{CERTIFICATES}.caCertificates": [certificate],
            "proxySettings.limits.deniedNetworks": ["10.0.0.0/8"],
            "proxySettings.application.proxyProtocol": True,
        }
    )
    policy = read_at_boot(settings, monkeypatch)
    issuers = policy.authentication["issuers"]
    assert issuers[0]["claims"] == [{"name": "level", "test": "one_of", "values": [1, "x", True]}]
    assert (issuers[1]["issuer"], issuers[1]["algorithms"]) == ("https://login.example.com/", ["ES256", "PS512"])
    assert [route["path"] for route in policy.authentication["routes"]] == ["/a/b", "/a"]
    assert policy.client_authorities == [certificate]
    assert policy.limits["denied_networks"] == [[10 << 24, (11 << 24) - 1]]
    assert policy.application.proxy_protocol


def test_defaults_at_boot_are_the_settings_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = read_at_boot(load_settings(), monkeypatch)
    policies = importlib.import_module("proxy_configuration.policy")
    empty = policies.Policy('{"authentication": {"provider": "openidc"}, "limits": {}}', VALUES)
    assert vars(empty) == vars(shipped)


VALUES = {
    "NGINX_BUILD": "source",
    "BACKEND_HOST": HOST,
    "OAUTH_BACKEND_PORT": "10080",
    "PROXY_WORKER_CONNECTIONS": "16384",
}


def read_at_boot(settings: ProjectSettings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings as user data, read by the program that the image has."""
    put_on_path(monkeypatch, REPOSITORY / "components/secure_proxy/rootfs/usr/libexec/secure-proxy")
    environment = proxy_instance_environment(settings, backend_host=HOST, certificate_names=["localhost"])
    return importlib.import_module("proxy_configuration.policy").Policy(environment["POLICY"], VALUES)
