#!/usr/bin/env python3
"""Print NGINX's connection counts as one CloudWatch embedded-metric record.

The record is one line of JSON on standard output; the unit appends it to the file that the CloudWatch agent ships, and
CloudWatch makes metrics of it. Each metric exists twice: per instance, and without dimensions for the whole fleet.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

Standard library alone, Python 3.9 or newer: it runs on machine images as they come.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

NAMESPACE = "NGINX"
# Key of the status document → name of the metric. Each is a count at one moment.
METRICS = {
    "connections_active": "ConnectionsActive",
    "connections_reading": "ConnectionsReading",
    "connections_writing": "ConnectionsWriting",
    "connections_waiting": "ConnectionsWaiting",
}
TIMEOUT_SECONDS = 5
MAX_STATUS_BYTES = 65536


class StatusError(Exception):
    """The status document is missing or is not what NGINX should say."""


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nginx-metrics", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", required=True, help="address of NGINX's status document")
    arguments = parser.parse_args(argv)
    try:
        status = fetch_status(arguments.url)
        record = embedded_metrics(status, host=socket.gethostname(), timestamp_ms=time.time_ns() // 1_000_000)
    except StatusError as error:
        print(f"nginx-metrics: {error}", file=sys.stderr)
        return 1
    print(json.dumps(record, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
