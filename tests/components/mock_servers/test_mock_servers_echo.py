"""The TCP echo returns exactly what it gets, whatever the client's pace."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.ports import free_port

from .support import ADDRESS, COMPONENT, Server

ECHO = COMPONENT / "servers" / "echo.py"


def connect(server: Server) -> socket.socket:
    return socket.create_connection((ADDRESS, server.port), timeout=20)


def connect_with_small_window(server: Server) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((ADDRESS, server.port))
    return connection


def send_and_end(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def receive_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("size", [1, 65_536, 16 * 1024 * 1024])
def test_returns_every_byte_and_ends_when_the_client_ends(echo: Server, size: int) -> None:
    sent = os.urandom(size)
    with connect(echo) as connection:
        sender = threading.Thread(target=send_and_end, args=(connection, sent))
        sender.start()
        received = receive_all(connection)
        sender.join()
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()


def test_answers_before_the_client_ends(echo: Server) -> None:
    with connect(echo) as connection:
        for line in (b"one\n", b"two\n"):
            connection.sendall(line)
            assert connection.recv(100) == line


def test_delivers_what_is_outstanding_to_a_client_that_ended_and_reads_late(echo: Server) -> None:
    sent = os.urandom(3_000_000)
    with connect(echo) as connection:
        sender = threading.Thread(target=send_and_end, args=(connection, sent))
        sender.start()
        time.sleep(0.5)
        received = receive_all(connection)
        sender.join()
    assert received == sent


def test_stops_reading_from_a_client_that_does_not_read(echo: Server) -> None:
    with connect(echo) as connection:
        connection.settimeout(1)
        taken = 0
        with contextlib.suppress(TimeoutError):
            while taken < 256 * 1024 * 1024:
                taken += connection.send(b"x" * 65_536)
        # What socket buffers of both directions hold, and no more.
        assert taken < 64 * 1024 * 1024


def test_slow_clients_with_small_windows_get_their_own_bytes_whole(echo: Server) -> None:
    """The rest of a chunk is kept, and kept apart, while other connections go on."""
    sent = [os.urandom(3_000_000) for _ in range(8)]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect_with_small_window(echo)) for _ in sent]
        senders = [threading.Thread(target=send_and_end, args=pair) for pair in zip(connections, sent, strict=True)]
        for sender in senders:
            sender.start()
        time.sleep(0.3)
        received = [receive_all(connection) for connection in connections]
        for sender in senders:
            sender.join()
    assert [len(data) for data in received] == [len(data) for data in sent]
    assert received == sent


def test_serves_500_connections_at_once(echo: Server) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(echo)) for _ in range(500)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%d\n" % number)
        assert [connection.recv(100) for connection in connections] == [b"%d\n" % number for number in range(500)]


def test_survives_clients_that_reset(echo: Server) -> None:
    for _ in range(20):
        connection = connect(echo)
        connection.sendall(b"x" * 100_000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()
    with connect(echo) as connection:
        connection.sendall(b"still there")
        assert connection.recv(100) == b"still there"


def changed_echo(script: str, port: int, directory: Path) -> Server:
    """The echo server as the module `echo`, for a script that changes its circumstances."""
    load = f"import sys; sys.path.insert(0, {str(ECHO.parent)!r}); import echo; "
    environment = {"TCP_SERVER_PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
    return Server([sys.executable, "-c", load + script], port, environment, directory / "log")


def test_sends_on_what_a_socket_takes_in_parts(tmp_path: Path) -> None:
    """With chunks larger than a socket's buffer, the rest of a chunk goes out in several parts."""
    port = free_port()
    sent = os.urandom(24_000_000)
    with (
        changed_echo(f"echo.CHUNK_BYTES = {len(sent)}; echo.main()", port, tmp_path) as server,
        connect(server) as connection,
    ):
        sender = threading.Thread(target=send_and_end, args=(connection, sent))
        sender.start()
        time.sleep(0.5)
        received = receive_all(connection)
        sender.join()
    assert len(received) == len(sent)
    assert received == sent


def test_waits_for_a_free_file_without_spinning_and_accepts_again(tmp_path: Path) -> None:
    port = free_port()
    limit = 32
    script = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); echo.main()"
    with changed_echo(script, port, tmp_path) as server, contextlib.ExitStack() as stack:
        *others, last = [stack.enter_context(connect(server)) for _ in range(limit * 2)]
        before = server.cpu_seconds
        time.sleep(0.5)
        assert server.cpu_seconds - before < 0.2
        for connection in others:
            connection.close()
        last.sendall(b"now")
        assert last.recv(10) == b"now"
    assert "accepting again when a connection ends" in server.log


@pytest.mark.parametrize("port", ["", "0", "65536", "9000x", "-1"])
def test_refuses_a_port_that_is_none(port: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-I", str(ECHO)], env={"TCP_SERVER_PORT": port}, capture_output=True, text=True, timeout=10
    )
    assert outcome.returncode == 1
    assert f"TCP_SERVER_PORT is '{port}'" in outcome.stderr


def test_says_which_port_is_taken(echo: Server) -> None:
    environment = {"TCP_SERVER_PORT": str(echo.port), "LISTEN_ADDRESS": ADDRESS}
    outcome = subprocess.run(
        [sys.executable, "-I", str(ECHO)], env=environment, capture_output=True, text=True, timeout=10
    )
    assert outcome.returncode == 1
    assert f"cannot listen on {ADDRESS}:{echo.port}" in outcome.stderr
