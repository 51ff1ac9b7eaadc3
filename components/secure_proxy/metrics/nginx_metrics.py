#!/usr/bin/env python3
"""Print NGINX's connection counts, and how long its certificate and revocation lists are valid, as one CloudWatch
embedded-metric record.

The record is one line of JSON on standard output; the unit appends it to the file that the CloudWatch agent ships, and
CloudWatch makes metrics of it. Each metric exists twice: per instance, and without dimensions for the whole fleet.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

Standard library alone, Python 3.9 or newer: it runs on machine images as they come.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import socket
import ssl
import sys
import time
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

NAMESPACE = "NGINX"
# Key of the status document → name of the metric. Each is a count at one moment.
METRICS = {
    "connections_active": "ConnectionsActive",
    "connections_reading": "ConnectionsReading",
    "connections_writing": "ConnectionsWriting",
    "connections_waiting": "ConnectionsWaiting",
}
CERTIFICATE_METRIC = "CertificateDaysLeft"
REVOCATION_METRIC = "RevocationListDaysLeft"
TIMEOUT_SECONDS = 5
MAX_STATUS_BYTES = 65536


_UTC = timezone.utc  # noqa: UP017 - datetime.UTC is of Python 3.11
# Tags of ASN.1, as DER writes them (ITU-T X.690).
_INTEGER, _SEQUENCE, _VERSION = 0x02, 0x30, 0xA0
_TIME_FORMS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


class StatusError(Exception):
    """The status document is missing or is not what NGINX should say."""


class CertificateError(Exception):
    """The certificate, or a revocation list, cannot be had or read."""


def shown_certificate(port: int) -> bytes:
    """The certificate, as DER, that clients of the TLS port on this machine are shown.

    It is looked at, not trusted: nothing is verified. Raises CertificateError.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        with plain, context.wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise CertificateError(f"port {port}: {error}") from error


def not_after(der: bytes) -> datetime:
    """The end of a certificate's validity (RFC 5280, section 4.1). Raises CertificateError for what is none."""
    try:
        _, certificate, _ = _element(der)
        _, fields, _ = _element(certificate)
        tag, _, rest = _element(fields)
        if tag == _VERSION:
            _, _, rest = _element(rest)  # the serial number
        for _ in ("signature", "issuer"):
            _, _, rest = _element(rest)
        tag, validity, _ = _element(rest)
        if tag != _SEQUENCE:
            raise ValueError(f"tag {tag:#x} where the validity should be")
        _, _, rest = _element(validity)
        return _time(rest)
    except (ValueError, LookupError) as error:
        raise CertificateError(f"not an X.509 certificate: {error}") from error


def next_update(der: bytes) -> datetime | None:
    """Until when a revocation list counts (RFC 5280, section 5.1), or None when it does not say.

    Raises CertificateError for what is none.
    """
    try:
        _, whole, _ = _element(der)
        _, fields, _ = _element(whole)
        tag, _, rest = _element(fields)
        if tag == _INTEGER:  # the version
            _, _, rest = _element(rest)  # the signature's algorithm
        _, _, rest = _element(rest)  # the issuer
        _time(rest)
        _, _, rest = _element(rest)  # this update
        return _time(rest) if rest and rest[0] in _TIME_FORMS else None
    except (ValueError, LookupError) as error:
        raise CertificateError(f"not a revocation list: {error}") from error


def _time(data: bytes) -> datetime:
    """The time that DER data begins with."""
    tag, value, _ = _element(data)
    return datetime.strptime(value.decode("ascii"), _TIME_FORMS[tag]).replace(tzinfo=_UTC)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element of DER data: its tag, its content, and what follows it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    end = start + length
    if end > len(data):
        raise ValueError("it ends too early")
    return tag, data[start:end], data[end:]


def fetch_status(url: str) -> dict[str, Any]:
    """The JSON object at `url`. Raises StatusError when it cannot be had."""
    # The status is on loopback; a proxy from the environment would answer for another machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
            document = json.loads(response.read(MAX_STATUS_BYTES))
    except (OSError, ValueError) as error:
        raise StatusError(f"{url}: {error}") from error
    if not isinstance(document, dict):
        raise StatusError(f"{url}: expected a JSON object, got {type(document).__name__}")
    return document


def embedded_metrics(status: Mapping[str, Any], *, host: str, timestamp_ms: int) -> dict[str, Any]:
    """One embedded-metric record from the status document; `timestamp_ms` is the time of the counts since 1970.

    Raises StatusError when a count is missing or is not a whole number: a wrong metric is worse than none.
    """
    record: dict[str, Any] = {
        "_aws": {
            "Timestamp": timestamp_ms,
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["Host"], []],
                    "Metrics": [{"Name": name, "Unit": "Count"} for name in METRICS.values()],
                }
            ],
        },
        "Host": host,
    }
    for key, name in METRICS.items():
        value = status.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise StatusError(f"status key {key!r} is {value!r}, not a count")
        record[name] = value
    return record


def add_certificate(record: dict[str, Any], der: bytes, *, now: datetime) -> None:
    """Adds for how many whole days, rounded down, the certificate is still valid: negative when it has ended.

    The certificate itself goes along: whoever may read the log can trust it, though each machine makes its own.
    Raises CertificateError.
    """
    _add_days_left(record, CERTIFICATE_METRIC, not_after(der) - now)
    record["Certificate"] = ssl.DER_cert_to_PEM_cert(der)


def add_revocation_lists(record: dict[str, Any], pem: str, *, now: datetime) -> None:
    """Adds the same of the revocation list that ends first; nothing when none is there or none ends.

    Raises CertificateError.
    """
    blocks = re.findall("-----BEGIN X509 CRL-----(.*?)-----END X509 CRL-----", pem, re.DOTALL)
    ends = [end for end in (next_update(base64.b64decode(block)) for block in blocks) if end]
    if ends:
        _add_days_left(record, REVOCATION_METRIC, min(ends) - now)


def _add_days_left(record: dict[str, Any], name: str, left: timedelta) -> None:
    record["_aws"]["CloudWatchMetrics"][0]["Metrics"].append({"Name": name, "Unit": "Count"})
    record[name] = left.days


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nginx-metrics", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", required=True, help="address of NGINX's status document")
    parser.add_argument("--tls-port", type=int, help="port of this machine whose certificate is looked at")
    parser.add_argument("--revocation-lists", type=Path, help="PEM file of the lists that clients' certificates are in")
    arguments = parser.parse_args(argv)
    try:
        status = fetch_status(arguments.url)
        record = embedded_metrics(status, host=socket.gethostname(), timestamp_ms=time.time_ns() // 1_000_000)
    except StatusError as error:
        print(f"nginx-metrics: {error}", file=sys.stderr)
        return 1
    now = datetime.now(_UTC)
    try:
        if arguments.tls_port is not None:
            add_certificate(record, shown_certificate(arguments.tls_port), now=now)
    except CertificateError as error:
        # The counts are right all the same.
        print(f"nginx-metrics: {error}", file=sys.stderr)
    try:
        if arguments.revocation_lists is not None:
            add_revocation_lists(record, arguments.revocation_lists.read_text(encoding="ascii"), now=now)
    except (CertificateError, OSError) as error:
        print(f"nginx-metrics: {arguments.revocation_lists}: {error}", file=sys.stderr)
    print(json.dumps(record, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
