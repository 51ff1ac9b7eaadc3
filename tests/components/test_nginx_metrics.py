"""The metrics program: one embedded-metric record from NGINX's status, or an error and no record."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import pytest

from tests.components.component_support import COMPONENT, load_program

STATUS = {"connections_active": 5, "connections_reading": 1, "connections_writing": 2, "connections_waiting": 2}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_program(COMPONENT / "metrics/nginx_metrics.py", "nginx_metrics")


class StatusServer(ThreadingHTTPServer):
    """Answers every GET with `body`."""

    body = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/nginx_status"


class StatusHandler(BaseHTTPRequestHandler):
    server: StatusServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[StatusServer]:
    with StatusServer(("127.0.0.1", 0), StatusHandler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_record_carries_the_four_counts(program: ModuleType) -> None:
    record = program.embedded_metrics(STATUS, host="ip-10-0-0-1", timestamp_ms=1_700_000_000_000)
    assert record["ConnectionsActive"] == 5
    assert record["ConnectionsReading"] == 1
    assert record["ConnectionsWriting"] == 2
    assert record["ConnectionsWaiting"] == 2


def test_record_follows_the_embedded_metric_format(program: ModuleType) -> None:
    record = program.embedded_metrics(STATUS, host="ip-10-0-0-1", timestamp_ms=1_700_000_000_000)
    metadata = record["_aws"]
    (directive,) = metadata["CloudWatchMetrics"]
    assert metadata["Timestamp"] == 1_700_000_000_000
    assert directive["Namespace"] == "NGINX"
    for metric in directive["Metrics"]:
        assert isinstance(record[metric["Name"]], int)
        assert metric["Unit"] == "Count"
    for dimensions in directive["Dimensions"]:
        assert all(isinstance(record[name], str) for name in dimensions)


def test_record_counts_for_the_instance_and_for_the_fleet(program: ModuleType) -> None:
    record = program.embedded_metrics(STATUS, host="ip-10-0-0-1", timestamp_ms=0)
    assert record["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Host"], []]


@pytest.mark.parametrize("key", sorted(STATUS))
@pytest.mark.parametrize("value", [None, "5", -1, 1.5, True])
def test_what_is_not_a_count_makes_no_record(program: ModuleType, key: str, value: object) -> None:
    with pytest.raises(program.StatusError, match=key):
        program.embedded_metrics({**STATUS, key: value}, host="h", timestamp_ms=0)


def test_program_prints_one_line_of_json(
    program: ModuleType, server: StatusServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.body = json.dumps(STATUS).encode()
    assert program.main(["--url", server.url]) == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert json.loads(output)["ConnectionsActive"] == 5


@pytest.mark.parametrize("body", [b"", b"Active connections: 5", b"[]", b"{}"])
def test_answer_that_is_no_status_is_an_error_without_a_record(
    body: bytes, program: ModuleType, server: StatusServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.body = body
    assert program.main(["--url", server.url]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nginx-metrics:" in captured.err


def test_nginx_that_is_down_is_an_error_without_a_record(
    program: ModuleType, server: StatusServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.url
    server.server_close()
    assert program.main(["--url", url]) == 1
    assert capsys.readouterr().out == ""


def test_a_proxy_of_the_environment_is_not_asked(
    program: ModuleType, server: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.body = json.dumps(STATUS).encode()
    assert program.main(["--url", server.url]) == 0
