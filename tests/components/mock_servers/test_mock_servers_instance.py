"""What an instance is told at boot: fetched by IMDSv2, checked strictly, written for the units; else nothing starts."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stacks.component_parameters import mock_instance_environment, render_environment

from .support import ADDRESS, LIBEXEC

PROGRAM = LIBEXEC / "instance_environment.py"
IMDS_TOKEN = "imds-token"


class MetadataService:
    """IMDSv2: a session token by PUT, and user data only to who shows it."""

    def __init__(self) -> None:
        self.user_data: bytes | None = b""
        self.failures = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
                allowed = self.path == "/latest/api/token" and lifetime.isdigit() and not outer.fails()
                self.reply(200 if allowed else 400, IMDS_TOKEN.encode())

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") != IMDS_TOKEN:
                    self.reply(401, b"")
                elif self.path != "/latest/user-data" or outer.user_data is None:
                    self.reply(404, b"")
                else:
                    self.reply(200, outer.user_data)

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing to say."""

        self.server = ThreadingHTTPServer((ADDRESS, 0), Handler)

    def fails(self) -> bool:
        self.failures -= 1
        return self.failures >= 0

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server.server_port}"


@pytest.fixture
def metadata() -> Iterator[MetadataService]:
    service = MetadataService()
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        service.server.shutdown()
        service.server.server_close()
        thread.join()


def run(directory: Path, url: str, patience: float = 5) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(PROGRAM), "--metadata-url", url, f"--patience={patience}"]
    command += ["--output", str(directory / "instance.env"), "--given-file", str(directory / "user-data")]
    # A proxy of the environment must not see the request.
    environment = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def written(directory: Path) -> list[str]:
    text = (directory / "instance.env").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_user_data_as_the_stack_renders_it_is_taken(metadata: MetadataService, tmp_path: Path) -> None:
    variables = mock_instance_environment(backend_host="mock-servers.secure-proxy.internal")
    metadata.user_data = render_environment(variables).encode()
    outcome = run(tmp_path, metadata.url)
    assert outcome.returncode == 0, outcome.stderr
    assert written(tmp_path) == ["BACKEND_HOST=mock-servers.secure-proxy.internal"]
    assert (tmp_path / "instance.env").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("Internal-NLB-1a2B.elb.eu-west-1.amazonaws.com", "internal-nlb-1a2b.elb.eu-west-1.amazonaws.com"),
        ("10.0.0.7", "10.0.0.7"),
        ("localhost", "localhost"),
        ("'quoted.example'", "quoted.example"),
    ],
)
def test_the_host_is_a_name_or_an_ipv4_address_in_lower_case(
    metadata: MetadataService, tmp_path: Path, given: str, host: str
) -> None:
    metadata.user_data = f"# comment\n\nBACKEND_HOST={given}\n".encode()
    assert run(tmp_path, metadata.url).returncode == 0
    assert written(tmp_path) == [f"BACKEND_HOST={host}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "BACKEND_HOST is missing"),
        ("#!/bin/bash\necho hello\n", "expected KEY=VALUE"),
        ("BACKEND_HOST=\n", "expected KEY=VALUE"),
        ("BACKEND_HOST=a b\n", "expected KEY=VALUE"),
        ("BACKEND_HOST='a\n", "line 1"),
        ("BACKEND_HOST=a\nBACKEND_HOST=b\n", "given twice"),
        ("BACKEND_HOST=a\nOTHER=b\n", "unknown variable 'OTHER'"),
        ("BACKEND_HOST='a b'\n", "neither a DNS name"),
        ("BACKEND_HOST=a_b\n", "neither a DNS name"),
        ("BACKEND_HOST=-a.example\n", "neither a DNS name"),
        ("BACKEND_HOST=a..b\n", "neither a DNS name"),
        ("BACKEND_HOST=a.example.\n", "neither a DNS name"),
        ("BACKEND_HOST=10.0.0\n", "neither a DNS name"),
        ("BACKEND_HOST=10.0.0.256\n", "neither a DNS name"),
        ("BACKEND_HOST=http://a\n", "neither a DNS name"),
        ("BACKEND_HOST=a:80\n", "neither a DNS name"),
        ("BACKEND_HOST='$(reboot)'\n", "neither a DNS name"),
        (f"BACKEND_HOST={'a' * 64}.example\n", "neither a DNS name"),
        (f"BACKEND_HOST={'.'.join(['a' * 60] * 5)}\n", "neither a DNS name"),
        ("BACKEND_HOST=\u00e4.example\n", "neither a DNS name"),
        ("x" * 20_000, "longer than"),
    ],
)
def test_bad_user_data_leaves_no_file(metadata: MetadataService, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "instance.env").write_text("BACKEND_HOST=of-an-earlier-boot\n")
    metadata.user_data = text.encode()
    outcome = run(tmp_path, metadata.url)
    assert outcome.returncode == 1
    assert message in outcome.stderr
    assert not (tmp_path / "instance.env").exists()


def test_user_data_that_is_not_text_is_refused(metadata: MetadataService, tmp_path: Path) -> None:
    metadata.user_data = b"\x1f\x8b\x08\xff"
    assert run(tmp_path, metadata.url).returncode == 1


def test_no_user_data_is_said_at_once_with_the_remedy(metadata: MetadataService, tmp_path: Path) -> None:
    metadata.user_data = None
    outcome = run(tmp_path, metadata.url, patience=60)
    assert outcome.returncode == 1
    assert "launched without user data" in outcome.stderr
    assert "start mock-instance.service again" in outcome.stderr


def test_a_metadata_service_that_comes_late_is_waited_for(metadata: MetadataService, tmp_path: Path) -> None:
    metadata.failures = 2
    metadata.user_data = b"BACKEND_HOST=late.example\n"
    assert run(tmp_path, metadata.url).returncode == 0
    assert written(tmp_path) == ["BACKEND_HOST=late.example"]


def test_a_metadata_service_that_never_comes_is_an_error(tmp_path: Path) -> None:
    outcome = run(tmp_path, "http://127.0.0.1:9", patience=0.5)
    assert outcome.returncode == 1
    assert "does not answer" in outcome.stderr


def test_a_given_file_is_used_instead(metadata: MetadataService, tmp_path: Path) -> None:
    metadata.user_data = b"BACKEND_HOST=from-user-data.example\n"
    (tmp_path / "user-data").write_text("BACKEND_HOST=given.example\n")
    assert run(tmp_path, metadata.url).returncode == 0
    assert written(tmp_path) == ["BACKEND_HOST=given.example"]
