"""The self-signed certificate of an instance's first boot."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from proxy_configuration.commands import run
from proxy_configuration.errors import ConfigurationError
from proxy_configuration.files import has_content, sync

CERTIFICATE_DAYS = 397
KEY, CERTIFICATE = "serverkey.pem", "servercert.pem"
# A pair that is complete and on its way to its place.
FINISHED = "self-signed"


def make_certificate(directory: Path, names: list[str]) -> None:
    """Make the self-signed pair unless there is one: directory and files readable by root alone.

    It is made beside and moved when it is complete; a boot that was interrupted in between is continued by the next.
    What the operator put there is never replaced.
    """
    finished = directory / FINISHED
    present = [name for name in (KEY, CERTIFICATE) if has_content(directory / name)]
    # What is in place and not among the finished ones any more was moved by us.
    foreign = [name for name in present if not finished.exists() or (finished / name).exists()]
    if len(present) == 1 and foreign:
        raise ConfigurationError(f"{directory} has one of {CERTIFICATE} and {KEY}; provide both or none")
    if not present and not finished.exists():
        _make_pair(directory, names)
    if len(present) < 2:
        for path in finished.iterdir():
            path.replace(directory / path.name)
        sync(directory)
    shutil.rmtree(finished, ignore_errors=True)


def _make_pair(directory: Path, names: list[str]) -> None:
    """Make `FINISHED`, on the disk, with key and certificate in it."""
    scratch = directory / f"{FINISHED}.new"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    alternatives = ",".join(f"{'IP' if re.fullmatch(r'[0-9.]+', name) else 'DNS'}:{name}" for name in names)
    run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-sha256", "-days", str(CERTIFICATE_DAYS), "-subj", f"/CN={names[0][:64]}",
         "-addext", f"subjectAltName={alternatives}", "-addext", "extendedKeyUsage=serverAuth",
         "-addext", "keyUsage=critical,digitalSignature", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", str(scratch / KEY), "-out", str(scratch / CERTIFICATE)],
        "making the self-signed certificate",
    )  # fmt: skip
    for path in (scratch / KEY, scratch / CERTIFICATE):
        path.chmod(0o600)
        os.chown(path, 0, 0)
        sync(path)
    sync(scratch)
    scratch.rename(directory / FINISHED)
    sync(directory)
