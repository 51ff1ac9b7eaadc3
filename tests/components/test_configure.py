"""The boot configuration program: what it accepts, what it writes, and what it refuses before anything is changed."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.shipped_programs import put_on_path

COMPONENT = Path(__file__).parents[2] / "components" / "secure_proxy"
PROGRAM_DIRECTORY = COMPONENT / "rootfs/usr/libexec/secure-proxy"

IMAGE = {
    "NGINX_BUILD": "distribution",
    "PROXY_BASE_DIR": "/etc/nginx",
    "PROXY_WORKER_PROCESSES": "auto",
    "PROXY_WORKER_CONNECTIONS": "1024",
    "KEEPALIVE_TIMEOUT": "120",
    "WSS_PROXY_BIND_PORT": "10000",
    "OAUTH_PROXY_BIND_PORT": "11080",
    "HEALTH_PORT": "8080",
    "WSS_BACKEND_PORT": "9000",
    "OAUTH_BACKEND_PORT": "10080",
    "CONNECT_TIMEOUT": "30s",
    "READ_TIMEOUT": "60s",
    "SEND_TIMEOUT": "60s",
    "BRIDGE": "lua",
}
POLICY: dict[str, Any] = {
    "authentication": {"provider": "external"},
    "limits": {"drainTimeout": "1m"},
}


@pytest.fixture(autouse=True)
def program_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(monkeypatch, PROGRAM_DIRECTORY)


def module(name: str) -> ModuleType:
    return importlib.import_module(f"proxy_configuration.{name}")


def configuration_error() -> type[Exception]:
    error: type[Exception] = module("errors").ConfigurationError
    return error


class FakeJail:
    """A jail whose `nginx -t` is a recorded answer; the real one is tested where an image is booted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / "etc/nginx"
        templates = self.directory / "templates"
        templates.mkdir(parents=True)
        subprocess.run(["cp", "-r", f"{COMPONENT}/nginx/.", str(templates)], check=True)
        (self.directory / "modules.conf").write_text("")
        self.judged: list[Path] = []
        self.verdict: str | None = None

    def values(self, **changes: str) -> dict[str, str]:
        values = {
            **IMAGE,
            "JAIL_BASE_DIR": str(self.root),
            "BACKEND_HOST": "backend.example.com",
            "CERTIFICATE_NAMES": "proxy.example.com,127.0.0.1",
            "POLICY": json.dumps(POLICY),
        }
        return {**values, **changes}

    def snapshot(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}


@pytest.fixture
def jail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeJail:
    fake = FakeJail(tmp_path / "jail")
    rendering = module("rendering")

    def judge(_: object, configuration: Path) -> None:
        fake.judged.append(configuration)
        if fake.verdict:
            raise configuration_error()(fake.verdict)

    monkeypatch.setattr(rendering.Jail, "test", judge)
    return fake


def configure(jail: FakeJail, *, install: bool = True, **changes: str) -> None:
    values = jail.values(**changes)
    module("environment").validate(values)
    module("rendering").configure(values, names="10.0.0.2", install=install)


def policy_with(section: str, **changes: object) -> str:
    return json.dumps({**POLICY, section: {**POLICY[section], **changes}})


def test_every_template_is_rendered_without_leftover_variables(jail: FakeJail) -> None:
    configure(jail)
    rendered = [jail.directory / "nginx.conf", *sorted((jail.directory / "conf.d").iterdir())]
    assert len(rendered) == len(list((COMPONENT / "nginx").rglob("*.template")))
    for path in rendered:
        assert not re.search(r"\$\{[A-Z]", path.read_text()), path


def test_nginx_variables_survive_rendering(jail: FakeJail) -> None:
    configure(jail)
    assert "$remote_addr" in (jail.directory / "conf.d/logging.conf").read_text()


def test_candidate_is_judged_before_anything_is_installed(jail: FakeJail) -> None:
    configure(jail)
    before = jail.snapshot()
    jail.verdict = "nginx -t failed"
    with pytest.raises(configuration_error(), match="nginx -t failed"):
        configure(jail, BACKEND_HOST="other.example.com")
    assert jail.snapshot() == before


def test_check_leaves_nothing_behind(jail: FakeJail) -> None:
    before = jail.snapshot()
    configure(jail, install=False)
    assert jail.judged
    assert jail.snapshot() == before


def test_runtime_document_has_the_resolved_policy(jail: FakeJail) -> None:
    configure(jail)
    document = json.loads((jail.directory / "runtime.json").read_text())
    assert document["backend"] == {
        "host": "backend.example.com",
        "wss_port": 9000,
        "proxy_protocol": False,
        "tls": False,
        "server_name": "backend.example.com",
        "client_certificate": False,
    }
    assert document["timeouts_ms"] == {"connect": 30000, "read": 60000, "send": 60000}
    assert document["authentication"]["issuers"][0]["issuer"] == "http://backend.example.com:10080/awsexample"
    assert document["limits"]["drain_timeout_ms"] == 60000


@pytest.mark.parametrize(("setting", "expected"), [(0, 448), (7, 7), (512, 512)])
def test_a_worker_has_connections_to_spare_unless_told_otherwise(jail: FakeJail, setting: int, expected: int) -> None:
    assert IMAGE["PROXY_WORKER_CONNECTIONS"] == "1024"
    configure(jail, POLICY=policy_with("limits", sessionsPerWorker=setting))
    document = json.loads((jail.directory / "runtime.json").read_text())
    assert document["limits"]["sessions_per_worker"] == expected


def test_workers_are_kept_for_longer_than_the_drain_time(jail: FakeJail) -> None:
    configure(jail)
    assert "worker_shutdown_timeout 65000ms;" in (jail.directory / "nginx.conf").read_text()


def test_key_is_readable_by_its_owner_alone(jail: FakeJail) -> None:
    configure(jail)
    certificates = jail.directory / "certs"
    assert certificates.stat().st_mode & 0o777 == 0o700
    assert (certificates / "serverkey.pem").stat().st_mode & 0o777 == 0o600
    assert (certificates / "servercert.pem").stat().st_mode & 0o777 == 0o600


def test_certificate_carries_every_name(jail: FakeJail) -> None:
    configure(jail)
    text = subprocess.run(
        ["openssl", "x509", "-in", str(jail.directory / "certs/servercert.pem"), "-noout", "-ext", "subjectAltName"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "DNS:proxy.example.com" in text
    assert "IP Address:127.0.0.1" in text


def test_the_operator_s_key_is_made_once_for_its_owner_alone(jail: FakeJail) -> None:
    configure(jail)
    key = jail.directory / "certs/operator.key"
    text = key.read_text()
    assert (key.stat().st_mode & 0o777, len(text)) == (0o600, 64)
    configure(jail)
    assert key.read_text() == text


@pytest.mark.parametrize("server", ["application", "oAuthServer"])
def test_a_client_certificate_that_is_asked_for_must_be_there(jail: FakeJail, server: str) -> None:
    policy = json.dumps({**POLICY, server: {"tls": True, "clientCertificate": True}})
    with pytest.raises(configuration_error(), match=r"-client\.pem does not exist"):
        configure(jail, POLICY=policy)


def test_authorities_of_the_policy_become_files(jail: FakeJail) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    certificates = {"mode": "optional", "caCertificates": [pem, pem]}
    configure(jail, POLICY=policy_with("authentication", clientCertificates=certificates))
    assert (jail.directory / "trust/clients.pem").read_text().count("BEGIN CERTIFICATE") == 2
    assert "client-certificates-on.conf" in (jail.directory / "conf.d/wss.conf").read_text()


def test_authorities_can_be_read_by_everyone_whatever_the_umask(jail: FakeJail) -> None:
    before = os.umask(0o077)
    try:
        configure(jail)
    finally:
        os.umask(before)
    assert (jail.directory / "trust").stat().st_mode & 0o777 == 0o755
    assert (jail.directory / "trust/revoked.pem").stat().st_mode & 0o777 == 0o644


def test_a_certificate_that_is_there_is_kept(jail: FakeJail) -> None:
    configure(jail)
    key = (jail.directory / "certs/serverkey.pem").read_bytes()
    configure(jail)
    assert (jail.directory / "certs/serverkey.pem").read_bytes() == key


def test_half_a_certificate_is_refused(jail: FakeJail) -> None:
    configure(jail)
    (jail.directory / "certs/servercert.pem").unlink()
    with pytest.raises(configuration_error(), match="provide both or none"):
        configure(jail)


def test_a_first_boot_that_was_interrupted_is_continued_by_the_next(
    jail: FakeJail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was: each move of a file is the last one once."""
    moves = left = 0
    original = Path.replace
    while True:
        with monkeypatch.context() as patch:
            left = moves

            def replace(source: Path, target: Path) -> Path:
                nonlocal left
                if target.parent.name == "certs":
                    if left == 0:
                        raise OSError("the power is gone")
                    left -= 1
                return original(source, target)

            patch.setattr(Path, "replace", replace)
            try:
                configure(jail)
                break
            except OSError:
                moves += 1
        configure(jail)
        assert is_pair(jail.directory / "certs")
        assert {path.name for path in (jail.directory / "certs").iterdir()} == FIRST_BOOT
        shutil.rmtree(jail.directory / "certs")
    assert moves == len(FIRST_BOOT)


FIRST_BOOT = {"serverkey.pem", "servercert.pem", "operator.key"}


def is_pair(directory: Path) -> bool:
    """Whether TLS takes certificate and key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            directory / "servercert.pem", directory / "serverkey.pem"
        )
    except ssl.SSLError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(FIRST_BOOT))
def test_empty_files_of_a_crash_are_nobody_s(jail: FakeJail, name: str) -> None:
    (jail.directory / "certs").mkdir()
    (jail.directory / "certs" / name).touch()
    configure(jail)
    assert is_pair(jail.directory / "certs")
    assert len((jail.directory / "certs/operator.key").read_text()) == 64


def test_what_the_first_boot_makes_is_on_the_disk_before_it_is_in_place(
    jail: FakeJail, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    original_sync, original_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        original_sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def replace(source: Path, target: Path) -> Path:
        assert target.parent.name != "certs" or source.stat().st_ino in synced, source
        return original_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    configure(jail)
    assert (jail.directory / "certs").stat().st_ino in synced


def test_an_operator_s_pair_is_kept_also_after_an_interrupted_first_boot(
    jail: FakeJail, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = jail.directory / "certs"
    configure(jail)
    theirs = {name: (certificates / name).read_bytes() for name in ("serverkey.pem", "servercert.pem")}
    shutil.rmtree(certificates)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: pytest.fail("nothing may be moved"))
        with pytest.raises(pytest.fail.Exception):
            configure(jail)
    (certificates / "serverkey.pem").write_bytes(theirs["serverkey.pem"])
    with pytest.raises(configuration_error(), match="provide both or none"):
        configure(jail)
    (certificates / "servercert.pem").write_bytes(theirs["servercert.pem"])
    configure(jail)
    assert theirs == {name: (certificates / name).read_bytes() for name in theirs}


def revocation_list(end: datetime | None) -> str:
    """A list of nobody's certificates that is good until `end`."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clients")]),
        last_update=datetime(2020, 1, 1, tzinfo=UTC),
        next_update=end,
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def policy_with_revocation_lists(*texts: str) -> str:
    authority = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    certificates = {"mode": "optional", "caCertificates": [authority], "revocationLists": list(texts)}
    return policy_with("authentication", clientCertificates=certificates)


def test_a_revocation_list_that_has_ended_is_refused(jail: FakeJail) -> None:
    now = datetime.now(UTC)
    good, ended = revocation_list(now + timedelta(days=1)), revocation_list(now - timedelta(seconds=1))
    configure(jail, POLICY=policy_with_revocation_lists(good, good + good))
    assert "client-certificates-crl.conf" in (jail.directory / "conf.d/wss.conf").read_text()
    assert (jail.directory / "trust/revoked.pem").read_text().count("BEGIN X509 CRL") == 3
    for texts in ((ended,), (good, ended), (good, good + ended)):
        message = rf"revocationLists\[{len(texts) - 1}\] ended at .* GMT"
        with pytest.raises(configuration_error(), match=message):
            configure(jail, POLICY=policy_with_revocation_lists(*texts))


def test_what_is_no_revocation_list_is_refused(jail: FakeJail) -> None:
    text = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    with pytest.raises(configuration_error(), match=r"revocationLists\[0\]"):
        configure(jail, POLICY=policy_with_revocation_lists(text))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKEND_HOST", "a b"),
        ("BACKEND_HOST", "backend.example.com\n"),
        ("READ_TIMEOUT", "60s\n"),
        ("BACKEND_HOST", "host;return 200"),
        ("BACKEND_HOST", '"'),
        ("BACKEND_HOST", "-x.example"),
        ("BACKEND_HOST", "::1"),
        ("BACKEND_HOST", "300.1.1.1"),
        ("BACKEND_HOST", ""),
        ("CERTIFICATE_NAMES", "ok.example,"),
        ("CERTIFICATE_NAMES", "DNS:x"),
        ("WSS_PROXY_BIND_PORT", "0"),
        ("WSS_PROXY_BIND_PORT", "65536"),
        ("WSS_PROXY_BIND_PORT", "\u0661\u0660\u0660\u0660"),
        ("READ_TIMEOUT", "60"),
        ("READ_TIMEOUT", "60s; evil on"),
        ("BRIDGE", "tcp"),
        ("PROXY_WORKER_PROCESSES", "0"),
        ("PROXY_BASE_DIR", "/etc/../etc"),
        ("PROXY_BASE_DIR", "etc/nginx"),
    ],
)
def test_a_value_that_could_change_the_configuration_is_refused(jail: FakeJail, name: str, value: str) -> None:
    with pytest.raises(configuration_error(), match=name):
        module("environment").validate({**jail.values(), name: value})


@pytest.mark.parametrize("name", sorted(set(IMAGE) | {"BACKEND_HOST", "CERTIFICATE_NAMES", "JAIL_BASE_DIR"}))
def test_a_missing_variable_is_named(jail: FakeJail, name: str) -> None:
    values = jail.values()
    del values[name]
    with pytest.raises(configuration_error(), match=f"{name} is missing"):
        module("environment").validate(values)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({"limits": POLICY["limits"]}), "missing 'authentication'"),
        (json.dumps({**POLICY, "extra": {}}), "unknown 'extra'"),
        (policy_with("authentication", provider="none"), "provider"),
        (policy_with("authentication", algorithms=[]), "algorithms"),
        (policy_with("authentication", algorithms=["HS256"]), "algorithms"),
        (policy_with("authentication", algorithms=["none"]), "algorithms"),
        (policy_with("authentication", issuer="ftp://x"), "issuer"),
        (policy_with("authentication", authorizerUrl="http://x/a; deny all"), "authorizerUrl"),
        (policy_with("authentication", authorizerUrl="http://${UNKNOWN}/"), "authorizerUrl"),
        (policy_with("authentication", clockSkew=30), "clockSkew"),
        (policy_with("authentication", issuerr="x"), "unknown 'issuerr'"),
        (policy_with("authentication", routes=[{"path": "orders"}]), "path"),
        (policy_with("authentication", routes=[{"path": "/a"}, {"path": "/a"}]), "named twice"),
        (policy_with("authentication", requiredClaims=[{"claim": "a"}]), "exactly one"),
        (policy_with("authentication", requiredClaims=[{"claim": "a", "equals": 1.5}]), "whole numbers"),
        (policy_with("authentication", requiredClaims=[{"claim": "a", "equals": 2**53}]), "whole numbers"),
        (policy_with("authentication", requiredClaims=[{"claim": "a", "oneOf": [1, -(2**53)]}]), "whole numbers"),
        (policy_with("authentication", issuer="http://issuer.example\n"), "issuer"),
        (policy_with("authentication", clockSkew="30s\n"), "clockSkew"),
        (json.dumps({**POLICY, "application": {"tls": True, "serverName": "app.example\n"}}), "DNS name"),
        (policy_with("authentication", requiredScopes=["a b"]), "scopes"),
        (policy_with("authentication", furtherIssuers=[{"algorithms": ["RS256"]}]), "issuer"),
        (policy_with("authentication", furtherIssuers=[{"issuer": "http://a", "algorithms": ["HS256"]}]), "algorithms"),
        (policy_with("authentication", tokenCookie="a;b"), "tokenCookie"),
        (policy_with("authentication", subprotocolToken="yes"), "true or false"),
        (policy_with("authentication", clientCertificates={"mode": "required"}), "needs caCertificates"),
        (policy_with("authentication", clientCertificates={"caCertificates": ["x; }"]}), "PEM texts"),
        (policy_with("limits", deniedNetworks=["10.0.0.1/8"]), "IPv4 networks"),
        (policy_with("limits", rateWindow="10ms"), "at least 1s"),
        (json.dumps({**POLICY, "application": {"tls": True, "serverName": "a;b"}}), "DNS name"),
        (json.dumps({**POLICY, "application": {"clientCertificate": True}}), "needs tls"),
        (json.dumps({**POLICY, "oAuthServer": {"proxyProtocol": True}}), "unknown 'proxyProtocol'"),
        (policy_with("limits", maxFrameSize=-1), "maxFrameSize"),
        (policy_with("limits", maxFrameSize=True), "maxFrameSize"),
        (policy_with("limits", drainTimeout="soon"), "drainTimeout"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused(jail: FakeJail, policy: str, message: str) -> None:
    with pytest.raises(configuration_error(), match=message):
        configure(jail, POLICY=policy)


def test_the_largest_whole_numbers_may_be_required(jail: FakeJail) -> None:
    claims = [{"claim": "a", "equals": 2**53 - 1}, {"claim": "b", "contains": -(2**53) + 1}]
    configure(jail, POLICY=policy_with("authentication", requiredClaims=claims))
    issuer = json.loads((jail.directory / "runtime.json").read_text())["authentication"]["issuers"][0]
    assert [rule["values"] for rule in issuer["claims"]] == [[2**53 - 1], [-(2**53) + 1]]


def test_openidc_is_refused_by_an_image_that_lacks_it(jail: FakeJail) -> None:
    with pytest.raises(configuration_error(), match="openidc needs an image of NginxBuild=source"):
        configure(jail, POLICY=policy_with("authentication", provider="openidc"))


def test_a_template_with_an_unknown_variable_is_refused(jail: FakeJail) -> None:
    (jail.directory / "templates/extra.conf.template").write_text("set $x ${NOBODY_DEFINES_THIS};")
    with pytest.raises(configuration_error(), match="NOBODY_DEFINES_THIS"):
        configure(jail)


@pytest.mark.parametrize(
    "text", ["no equals sign", "lower=1", "A=1\nA=2", "A='unterminated", "A=two words", "=1", "A B=1"]
)
def test_an_unreadable_environment_file_is_refused(text: str) -> None:
    with pytest.raises(configuration_error(), match="line"):
        module("environment").parse_environment(text, "user data")


def test_environment_values_keep_quotes_spaces_and_dollar_signs() -> None:
    parsed: Mapping[str, str] = module("environment").parse_environment('# note\n\nA=\'{"x": "${B}"}\'\nB=\n', "file")
    assert parsed == {"A": '{"x": "${B}"}', "B": ""}


@pytest.mark.parametrize("missing", ["BACKEND_HOST", "CERTIFICATE_NAMES", "POLICY"])
def test_missing_instance_settings_are_named(tmp_path: Path, missing: str) -> None:
    values = {"BACKEND_HOST": "b.example", "CERTIFICATE_NAMES": "c.example", "POLICY": "x"}
    del values[missing]
    file = tmp_path / "instance.env"
    file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    with pytest.raises(configuration_error(), match=missing):
        module("environment").instance_settings(file)


def test_user_data_cannot_set_what_belongs_to_the_image(tmp_path: Path) -> None:
    file = tmp_path / "instance.env"
    file.write_text("BACKEND_HOST=b.example\nCERTIFICATE_NAMES=c.example\nPOLICY=x\nJAIL_BASE_DIR=/\n")
    with pytest.raises(configuration_error(), match="unknown JAIL_BASE_DIR"):
        module("environment").instance_settings(file)


def test_name_servers_of_the_machine_are_used(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("search example.com\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\noptions edns0\n")
    assert module("environment").resolvers(file) == "10.0.0.2 [fe80::1]"


def test_a_machine_without_name_servers_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("search example.com\n")
    with pytest.raises(configuration_error(), match="no name server"):
        module("environment").resolvers(file)


def test_a_backend_name_with_capitals_is_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "instance.env"
    file.write_text("BACKEND_HOST=Internal-NLB.Example\nCERTIFICATE_NAMES=c.example\nPOLICY=x\n")
    assert module("environment").instance_settings(file)["BACKEND_HOST"] == "internal-nlb.example"
