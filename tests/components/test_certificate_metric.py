"""The metrics program's look at the certificate that clients are shown."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.components.component_support import COMPONENT, load_program
from tests.components.test_nginx_metrics import STATUS, StatusServer, server

__all__ = ["server"]

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_program(COMPONENT / "metrics/nginx_metrics.py", "nginx_metrics")


def made(end: datetime, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.Certificate:
    """A self-signed certificate that is valid until `end`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy.example")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)])
@pytest.mark.parametrize("year", [2026, 2049, 2050, 9999])
def test_the_end_of_validity_is_read(
    program: ModuleType, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, year: int
) -> None:
    end = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC)
    assert program.not_after(der(made(end, key))) == end


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03abc", b"\x30\x82\xff\xff", b"not a certificate at all"])
def test_what_is_no_certificate_is_an_error(program: ModuleType, data: bytes) -> None:
    with pytest.raises(program.CertificateError):
        program.not_after(data)


def test_every_truncation_is_an_error(program: ModuleType) -> None:
    end = datetime(2030, 1, 1, tzinfo=UTC)
    whole = der(made(end, ec.generate_private_key(ec.SECP256R1())))
    for length in range(len(whole)):
        with pytest.raises(program.CertificateError):
            program.not_after(whole[:length])


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A TLS server with a certificate of ten days and a half, and not one that a client would trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = made(datetime.now(UTC) + timedelta(days=10, hours=12), key)
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with plain, context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(timeout=5)


def test_a_certificate_that_nobody_trusts_is_looked_at_all_the_same(program: ModuleType, tls_port: int) -> None:
    record: dict[str, Any] = {"_aws": {"CloudWatchMetrics": [{"Metrics": []}]}}
    program.add_certificate(record, program.shown_certificate(tls_port), now=datetime.now(UTC))
    assert record["CertificateDaysLeft"] == 10


def test_a_certificate_that_has_ended_has_negative_days_left(program: ModuleType) -> None:
    record: dict[str, Any] = {"_aws": {"CloudWatchMetrics": [{"Metrics": []}]}}
    ended = made(NOW - timedelta(days=9, hours=12), ec.generate_private_key(ec.SECP256R1()))
    program.add_certificate(record, der(ended), now=NOW)
    assert record["CertificateDaysLeft"] == -10


def test_the_record_tells_the_days_left_and_the_certificate(
    program: ModuleType, server: StatusServer, tls_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.body = json.dumps(STATUS).encode()
    assert program.main(["--url", server.url, "--tls-port", str(tls_port)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert record["CertificateDaysLeft"] == 10
    assert record["Certificate"] == (tmp_path / "cert.pem").read_text()
    metrics = record["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    assert {"Name": "CertificateDaysLeft", "Unit": "Count"} in metrics
    assert len(metrics) == 5


def revocation_list(end: datetime) -> x509.CertificateRevocationList:
    """One that names two certificates and is good until `end`."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clients")]),
        last_update=datetime(2020, 1, 1, tzinfo=UTC),
        next_update=end,
    )
    for number in (1, 2):
        revoked = x509.RevokedCertificateBuilder(number, datetime(2020, 1, 1, tzinfo=UTC)).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


@pytest.mark.parametrize("year", [2026, 2049, 2050, 9999])
def test_the_end_of_a_revocation_list_is_read(program: ModuleType, year: int) -> None:
    end = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC)
    assert program.next_update(revocation_list(end).public_bytes(serialization.Encoding.DER)) == end


def test_a_list_of_the_first_version_that_names_no_end_is_read(program: ModuleType) -> None:
    name = b"\x30\x00"
    fields = b"\x30\x00" + name + b"\x17\x0d200101000000Z"
    assert program.next_update(b"\x30\x15\x30\x13" + fields) is None


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03abc", b"\x30\x82\xff\xff", b"not a list at all"])
def test_what_is_no_revocation_list_is_an_error(program: ModuleType, data: bytes) -> None:
    with pytest.raises(program.CertificateError):
        program.next_update(data)


@pytest.mark.parametrize(("ends", "expected"), [([], None), ([40, 3, 20], 3), ([-2], -2)])
def test_the_record_tells_the_days_left_of_the_list_that_ends_first(
    program: ModuleType, server: StatusServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    ends: list[int], expected: int | None,
) -> None:  # fmt: skip
    now = datetime.now(UTC) + timedelta(hours=12)
    lists = [revocation_list(now + timedelta(days=days)).public_bytes(serialization.Encoding.PEM) for days in ends]
    (tmp_path / "revoked.pem").write_bytes(b"\n".join(lists) + b"\n")
    server.body = json.dumps(STATUS).encode()
    assert program.main(["--url", server.url, "--revocation-lists", str(tmp_path / "revoked.pem")]) == 0
    record = json.loads(capsys.readouterr().out)
    metrics = record["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    assert record.get("RevocationListDaysLeft") == expected
    assert ({"Name": "RevocationListDaysLeft", "Unit": "Count"} in metrics) is (expected is not None)


def test_revocation_lists_that_cannot_be_read_leave_the_counts(
    program: ModuleType, server: StatusServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.body = json.dumps(STATUS).encode()
    assert program.main(["--url", server.url, "--revocation-lists", str(tmp_path / "missing.pem")]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ConnectionsActive"] == 5
    assert "missing.pem" in captured.err


def test_without_an_answer_on_the_port_the_counts_are_told_alone(
    program: ModuleType, server: StatusServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.body = json.dumps(STATUS).encode()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert program.main(["--url", server.url, "--tls-port", str(port)]) == 0
    captured = capsys.readouterr()
    assert "CertificateDaysLeft" not in captured.out
    assert json.loads(captured.out)["ConnectionsActive"] == 5
    assert f"nginx-metrics: port {port}" in captured.err
