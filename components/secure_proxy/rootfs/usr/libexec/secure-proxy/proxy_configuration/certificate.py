"""The self-signed certificate of an instance's first boot."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from proxy_configuration.commands import run
from proxy_configuration.errors import ConfigurationError

CERTIFICATE_DAYS = 397


def make_certificate(directory: Path, names: list[str]) -> None:
    """Make the self-signed pair unless there is one: directory and files readable by root alone.

    The key appears only complete (written beside, then renamed), the certificate last.
    """
    certificate, key = directory / "servercert.pem", directory / "serverkey.pem"
    if certificate.exists() and key.exists():
        return
    if certificate.exists() != key.exists():
        raise ConfigurationError(f"{directory} has one of servercert.pem and serverkey.pem; provide both or none")
    alternatives = ",".join(f"{'IP' if re.fullmatch(r'[0-9.]+', name) else 'DNS'}:{name}" for name in names)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        new_key, new_certificate = Path(scratch) / key.name, Path(scratch) / certificate.name
        run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-sha256", "-days", str(CERTIFICATE_DAYS), "-subj", f"/CN={names[0][:64]}",
             "-addext", f"subjectAltName={alternatives}", "-addext", "extendedKeyUsage=serverAuth",
             "-addext", "keyUsage=critical,digitalSignature", "-addext", "basicConstraints=critical,CA:FALSE",
             "-keyout", str(new_key), "-out", str(new_certificate)],
            "making the self-signed certificate",
        )  # fmt: skip
        for path in (new_key, new_certificate):
            path.chmod(0o600)
            os.chown(path, 0, 0)
            path.replace(directory / path.name)
