"""Certificates for the tests: good ones, and the kinds that must not be believed."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.proxy.auth import proxy as proxies


def openssl(*arguments: str, directory: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


class Authority:
    """A certificate authority in a directory of its own; a certificate is `<name>.pem`, its key `<name>-key.pem`."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        (self.directory / "index.txt").touch()
        (self.directory / "ca.cnf").write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=2\n"
            "certificate=ca.pem\nprivate_key=ca-key.pem\n"
        )
        self._certificate("ca", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def _certificate(self, file: str, subject: str, *extra: str) -> None:
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-keyout", f"{file}-key.pem", "-out", f"{file}.pem", "-subj", subject, *extra, directory=self.directory,
        )  # fmt: skip

    def issue(self, file: str, subject: str, names: str = "") -> None:
        extra = ["-addext", f"subjectAltName={names}"] if names else []
        constraints = ["-addext", "basicConstraints=critical,CA:FALSE"]
        self._certificate(file, subject, "-CA", "ca.pem", "-CAkey", "ca-key.pem", *constraints, *extra)

    def issue_self_signed(self, file: str, names: str) -> None:
        """One that nobody else vouches for."""
        self._certificate(file, "/CN=self", "-addext", f"subjectAltName={names}")

    def expire(self, file: str) -> None:
        """Sign the certificate again, as it was yesterday: everything is right with it but the time."""
        issued = x509.load_pem_x509_certificate(self.pem(file).encode())
        key = serialization.load_pem_private_key(self.pem("ca-key").encode(), None)
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=issued.issuer,
            subject_name=issued.subject,
            public_key=issued.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=2),
            not_valid_after=now - timedelta(days=1),
            extensions=list(issued.extensions),
        )
        expired = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        (self.directory / f"{file}.pem").write_bytes(expired.public_bytes(serialization.Encoding.PEM))

    def pem(self, file: str) -> str:
        return (self.directory / f"{file}.pem").read_text()

    def revoke(self, file: str) -> str:
        """The revocation list that names the certificate."""
        openssl("ca", "-config", "ca.cnf", "-revoke", f"{file}.pem", directory=self.directory)
        return self.revocations()

    def revocations(self) -> str:
        """The revocation list as it is now."""
        openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", "crl.pem", directory=self.directory)
        return self.pem("crl")


def show_certificate(monkeypatch: pytest.MonkeyPatch, name: str, authority: Authority, file: str) -> None:
    """Give the proxies that are made from now on a certificate to show: to the `backend` or the `oidc` server."""
    original = proxies.make_jail

    def with_files(root: Path, directory: Path) -> Path:
        jail = original(root, directory)
        certificates = jail / proxies.CONFIGURATION / "certs"
        (certificates / f"{name}-client.pem").write_text(authority.pem(file))
        (certificates / f"{name}-client-key.pem").write_text(authority.pem(f"{file}-key"))
        (certificates / f"{name}-client-key.pem").chmod(0o600)
        return jail

    monkeypatch.setattr(proxies, "make_jail", with_files)
