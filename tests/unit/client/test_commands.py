"""`configuration`, `token` and `send`, the latter as a process of its own with real pipes, signals and terminals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.client.behaviour import ISSUER, Behaviour
from tests.unit.client.conftest import RunClient, StartProxy
from tests.unit.client.fake_proxy import FakeProxy

MakeArguments = Callable[..., list[str]]


@pytest.fixture
def command_line(arguments: MakeArguments) -> MakeArguments:
    """Makes the whole command line of a client process."""

    def make(proxy: FakeProxy, command: str, *options: str, **trust: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "client", *arguments(proxy, command, *options, **trust)]

    return make


@pytest.fixture
def run_process(command_line: MakeArguments, repository: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    def run(proxy: FakeProxy, command: str, *options: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command_line(proxy, command, *options),
            cwd=repository,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )

    return run


RunProcess = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_configuration_prints_issuer_and_endpoints(proxy: FakeProxy, run_client: RunClient) -> None:
    outcome = run_client(proxy, "configuration")
    assert outcome.code == 0
    assert dict(line.split() for line in outcome.out.splitlines()) == {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/jwks",
    }


@pytest.mark.parametrize("command", ["configuration", "token"])
def test_a_failed_command_explains_itself_on_stderr(
    start_proxy: StartProxy, run_client: RunClient, command: str
) -> None:
    outcome = run_client(start_proxy(Behaviour(answers={"/configuration": (502, b"")})), command)
    assert outcome.code == 1
    assert outcome.out == ""
    assert f"{command} failed" in outcome.err
    assert "received: HTTP 502" in outcome.err


def test_token_prints_the_token_alone(proxy: FakeProxy, run_client: RunClient) -> None:
    outcome = run_client(proxy, "token")
    assert outcome.code == 0
    assert outcome.out == f"{proxy.issued[0]}\n"
    assert outcome.err == ""


def test_token_as_json_holds_the_token(proxy: FakeProxy, run_client: RunClient) -> None:
    report = json.loads(run_client(proxy, "token", "--json").out)
    assert report["result"]["access_token"] == proxy.issued[0]


def test_send_passes_stdin_through_and_prints_what_comes_back(proxy: FakeProxy, run_process: RunProcess) -> None:
    data = bytes(range(256)) * 4000 + b"\nno newline at the end"
    result = run_process(proxy, "send", stdin=data)
    assert result.stderr == b""
    assert result.returncode == 0
    assert result.stdout == data


def test_send_of_nothing_ends_cleanly(proxy: FakeProxy, run_process: RunProcess) -> None:
    result = run_process(proxy, "send", "--linger", "0.1")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_send_reports_on_stderr(proxy: FakeProxy, run_process: RunProcess) -> None:
    result = run_process(proxy, "send", "--json", stdin=b"hello\n")
    assert result.stdout == b"hello\n"
    assert json.loads(result.stderr)["result"] == {
        "bytes_sent": 6,
        "bytes_received": 6,
        "close_code": 1000,
        "closed_by": "client",
    }


def test_send_uses_the_token_of_a_file(proxy: FakeProxy, run_process: RunProcess, tmp_path: Path) -> None:
    token = proxy.make_token()
    (tmp_path / "token").write_text(f"{token}\n")
    assert run_process(proxy, "send", "--token-file", str(tmp_path / "token"), stdin=b"x").stdout == b"x"
    assert proxy.token_forms == []
    assert proxy.handshakes[0].token == token


def test_send_with_a_refused_token_fails(start_proxy: StartProxy, run_process: RunProcess) -> None:
    result = run_process(start_proxy(Behaviour(valid_refusal=403)), "send", stdin=b"hello\n")
    assert result.returncode == 1
    assert b"refused with 403 Forbidden" in result.stderr


def test_send_fails_when_the_session_ends_with_an_error(start_proxy: StartProxy, run_process: RunProcess) -> None:
    proxy = start_proxy(Behaviour(close_after=(6, 4401, "token expired")))
    result = run_process(proxy, "send", stdin=b"hello\n")
    assert result.returncode == 1
    assert result.stdout == b"hello\n"
    assert b"close code 4401 (token expired)" in result.stderr
    assert b"remedy:   the token expired" in result.stderr


def test_send_fails_when_the_session_ends_before_all_input_is_sent(
    start_proxy: StartProxy, run_process: RunProcess
) -> None:
    result = run_process(start_proxy(Behaviour(close_after=(1, 1000, ""))), "send", stdin=b"x" * 50_000_000)
    assert result.returncode == 1
    assert b"then the session ended" in result.stderr


def test_send_ends_when_the_application_does_though_stdin_is_open(
    start_proxy: StartProxy, command_line: MakeArguments, repository: Path
) -> None:
    proxy = start_proxy(Behaviour(close_after=(5, 1000, "")))
    process = subprocess.Popen(
        command_line(proxy, "send"),
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.stdin.write(b"quit\n")
        process.stdin.flush()
        assert process.wait(timeout=20) == 0
        assert process.stdout.read() == b"quit\n"
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()


def test_send_on_a_terminal_escapes_control_characters(
    proxy: FakeProxy, command_line: MakeArguments, repository: Path
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        result = subprocess.run(
            command_line(proxy, "send"),
            cwd=repository,
            input="ü\x1b[2J\x07\n".encode() + b"\xff\n",
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        os.close(theirs)
        printed = terminal.read(1000)
    assert result.returncode == 0
    assert printed.decode() == "ü\\x1b[2J\\x07\r\n\\\\xff\r\n"


@pytest.mark.parametrize("command", ["e2e", "send", "configuration"])
def test_ctrl_c_ends_with_130_and_without_a_traceback(
    start_proxy: StartProxy, command_line: MakeArguments, repository: Path, command: str
) -> None:
    silent = start_proxy(Behaviour(silent_paths=frozenset({"/configuration"})))
    process = subprocess.Popen(
        command_line(silent, command, "--timeout", "60"),
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    patience = time.monotonic() + 30
    while not silent.requests and time.monotonic() < patience:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    assert b"Traceback" not in error
    assert b"interrupted" in error


def test_ctrl_c_during_a_session_ends_with_130(proxy: FakeProxy, command_line: MakeArguments, repository: Path) -> None:
    process = subprocess.Popen(
        command_line(proxy, "send"),
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"ready\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    # stdin stays open: the thread that reads it must not hold the process.
    assert process.wait(timeout=10) == 130
    _, error = process.communicate(timeout=10)
    assert b"Traceback" not in error


def test_a_closed_stdout_ends_the_client_quietly(
    proxy: FakeProxy, command_line: MakeArguments, repository: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            command_line(proxy, "send"),
            cwd=repository,
            input=b"hello\n",
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert result.returncode == 1
    assert result.stderr == b""


def test_a_closed_stdin_is_wrong_usage_for_send(
    proxy: FakeProxy, command_line: MakeArguments, repository: Path
) -> None:
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *command_line(proxy, "send")]
    result = subprocess.run(shell, cwd=repository, capture_output=True, timeout=60, check=False)
    assert result.returncode == 2
    assert b"stdin" in result.stderr


def test_the_environments_proxies_are_not_used(
    proxy: FakeProxy, run_client: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "wss_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert run_client(proxy, "e2e").code == 0
