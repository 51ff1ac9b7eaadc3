"""Load balancers: the configuration, and real HAProxy before real servers on loopback."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from local.balancer import Balancer, BalancerTarget, HealthCheck, Listener, render
from local.errors import LocalError
from local.layout import REPOSITORY
from local.processes import wait_until
from local.traces import Traces, kill_all
from tests.ports import free_port

LOOPBACK = IPv4Address("127.0.0.1")
TARGET = BalancerTarget("m-1", IPv4Address("10.0.0.10"), 9000)

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def config(*listeners: Listener, user: str | None = None) -> str:
    return render("internal", IPv4Address("10.0.0.2"), listeners, Path("/run/x"), user)


def section(text: str, head: str) -> list[str]:
    part = next(part for part in text.split("\n\n") if part.startswith(head + "\n"))
    return [line.strip() for line in part.splitlines()[1:]]


def test_a_listener_is_bound_to_the_balancers_address_alone() -> None:
    text = config(Listener(9000, (TARGET,)))
    assert "bind 10.0.0.2:9000" in section(text, "frontend listener_9000")
    assert text.count("bind ") == 1


def test_nothing_looks_into_the_bytes() -> None:
    defaults = section(config(Listener(9000, (TARGET,))), "defaults")
    assert "mode tcp" in defaults
    assert "mode http" not in config(Listener(9000, (TARGET,)))


def test_an_idle_connection_lives_as_long_as_behind_an_nlb() -> None:
    assert {"timeout client 350s", "timeout server 350s"} <= set(section(config(), "defaults"))


def test_an_http_check_asks_path_and_port() -> None:
    lines = section(config(Listener(10000, (TARGET,), HealthCheck(8080, "/readyz"))), "backend healthy_10000")
    assert "option httpchk GET /readyz" in lines
    assert "server m-1 10.0.0.10:9000 check port 8080" in lines


def test_a_tcp_check_is_the_default() -> None:
    assert section(config(Listener(9000, (TARGET,))), "backend healthy_9000") == ["server m-1 10.0.0.10:9000 check"]


def test_privileges_are_dropped_where_there_is_an_account() -> None:
    assert "user haproxy" in section(config(user="haproxy"), "global")
    assert not any(line.startswith("user ") for line in section(config(), "global"))


class Server:
    """A TCP server that answers a byte with its letter, and HTTP health on another port."""

    def __init__(self, letter: bytes, address: IPv4Address = LOOPBACK, health_port: int = 0) -> None:
        self.letter = letter
        self.address = address
        self.port = free_port()
        self.status = 200
        self._socket: socket.socket | None = None
        self.start()
        server = self

        class Health(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(server.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._http = HTTPServer((str(address), health_port), Health)
        self.health_port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def start(self) -> None:
        self._socket = socket.create_server((str(self.address), self.port))
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def stop(self) -> None:
        assert self._socket is not None
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(1):
                connection.sendall(self.letter)


def ask(port: int) -> bytes:
    """The letter of whoever answers; empty if the connection is closed. Raises if it is refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        try:
            connection.sendall(b"?")
            return connection.recv(1)
        except ConnectionResetError:
            return b""


def answer(port: int) -> bytes:
    """`ask`, with nothing if it is refused."""
    return b"" if refused(port) else ask(port)


def refused(port: int) -> bool:
    try:
        ask(port)
    except ConnectionRefusedError:
        return True
    return False


class Scene:
    """A balancer with one listener."""

    def __init__(self, tmp_path: Path) -> None:
        self.balancer = Balancer("test", LOOPBACK, "sp-test0000-balancer", tmp_path, tmp_path)
        self.port = free_port()

    def apply(self, *servers: Server) -> None:
        targets = tuple(BalancerTarget(server.letter.decode(), server.address, server.port) for server in servers)
        self.balancer.apply([Listener(self.port, targets, HealthCheck(servers[0].health_port, "/readyz"))])

    def health(self) -> dict[str, bool]:
        return {entry.target: entry.healthy for entry in self.balancer.health()}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    # The directories of a test are closed to other accounts.
    monkeypatch.setattr("local.balancer._unprivileged", lambda: None)
    made = Scene(tmp_path)
    yield made
    made.balancer.stop()
    kill_all(Traces.of([], [], "sp-test0000-"))


def soon(condition: Callable[[], bool]) -> bool:
    return wait_until(condition, 8, 0.1)


@needs_haproxy
def test_connections_reach_a_healthy_target(scene: Scene) -> None:
    scene.apply(Server(b"a"))
    assert soon(lambda: scene.health() == {"a": True})
    assert ask(scene.port) == b"a"


@needs_haproxy
def test_an_unhealthy_target_is_reported_with_its_status(scene: Scene) -> None:
    server = Server(b"a")
    server.status = 503
    scene.apply(server)
    assert soon(lambda: scene.health() == {"a": False})
    [entry] = scene.balancer.health()
    assert "503" in entry.reason


@needs_haproxy
def test_a_target_that_is_not_healthy_gets_nothing_while_another_is(scene: Scene) -> None:
    healthy = Server(b"a")
    other = Server(b"b", IPv4Address("127.0.0.2"), healthy.health_port)
    other.status = 503
    scene.apply(healthy, other)
    assert soon(lambda: scene.health() == {"a": True, "b": False})
    assert {ask(scene.port) for _ in range(6)} == {b"a"}
    other.status = 200
    assert soon(lambda: scene.health() == {"a": True, "b": True})
    assert {ask(scene.port) for _ in range(6)} == {b"a", b"b"}


@needs_haproxy
def test_a_target_that_is_not_healthy_but_accepts_still_gets_traffic_if_it_is_the_only_one(scene: Scene) -> None:
    server = Server(b"a")
    server.status = 503
    scene.apply(server)
    assert soon(lambda: scene.health() == {"a": False})
    time.sleep(0.5)
    assert ask(scene.port) == b"a"


@needs_haproxy
def test_clients_are_refused_while_no_target_accepts_and_served_again_after(scene: Scene) -> None:
    server = Server(b"a")
    scene.apply(server)
    assert soon(lambda: answer(scene.port) == b"a")
    server.stop()
    assert soon(lambda: refused(scene.port))
    server.start()
    assert soon(lambda: answer(scene.port) == b"a")


@needs_haproxy
def test_new_listeners_are_taken_while_connections_go_on(scene: Scene) -> None:
    first, second = Server(b"a"), Server(b"b")
    scene.apply(first)
    assert soon(lambda: answer(scene.port) == b"a")
    with socket.create_connection(("127.0.0.1", scene.port), timeout=3) as old:
        old.sendall(b"?")
        assert old.recv(1) == b"a"
        scene.apply(second)
        assert soon(lambda: answer(scene.port) == b"b")
        old.sendall(b"?")
        assert old.recv(1) == b"a"


@needs_haproxy
def test_no_connection_is_lost_while_listeners_change_and_to_none_that_is_not_healthy_yet(scene: Scene) -> None:
    first, silent = Server(b"a"), Server(b"b", IPv4Address("127.0.0.2"))
    silent.stop()
    scene.apply(first)
    assert soon(lambda: scene.health() == {"a": True})
    answers, done = [], threading.Event()

    def hammer() -> None:
        while not done.is_set():
            answers.append(ask(scene.port))

    clients = [threading.Thread(target=hammer) for _ in range(4)]
    for client in clients:
        client.start()
    for servers in ((first, silent), (first,)) * 3:
        scene.apply(*servers)
        asked = len(answers)
        assert soon(lambda asked=asked: len(answers) > asked + 100)  # type: ignore[misc]
    done.set()
    for client in clients:
        client.join()
    assert set(answers) == {b"a"}


@needs_haproxy
@pytest.mark.parametrize("name", ["a b", "a#b", "a'b", 'a"b', "a\\b", "a$HOME", "a\tb"])
def test_the_project_may_lie_in_a_directory_of_any_name(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    gate = tmp_path / name / "gate.lua"
    gate.parent.mkdir()
    shutil.copy(REPOSITORY / "local/gate.lua", gate)
    monkeypatch.setattr("local.balancer._GATE", gate)
    scene.apply(Server(b"a"))
    assert scene.balancer.running


@needs_haproxy
def test_a_target_that_was_not_asked_yet_is_told_apart_from_one_that_failed(scene: Scene) -> None:
    server = Server(b"a")
    server.stop()
    server.status = 503
    scene.apply(server)
    seen = []
    assert soon(lambda: seen.append(scene.balancer.health()[0]) or seen[-1].asked)  # type: ignore[func-returns-value]
    assert [entry.healthy for entry in seen] == [False] * len(seen)
    assert "503" in seen[-1].reason


@needs_haproxy
def test_the_worker_before_ends_with_its_last_connection(scene: Scene) -> None:
    first, second = Server(b"a"), Server(b"b")
    scene.apply(first)
    assert soon(lambda: answer(scene.port) == b"a")
    before = scene.balancer._worker()
    with socket.create_connection(("127.0.0.1", scene.port), timeout=3) as old:
        old.sendall(b"?")
        assert old.recv(1) == b"a"
        scene.apply(second)
        assert Path(f"/proc/{before}").exists()
    assert soon(lambda: not Path(f"/proc/{before}").exists())


@needs_haproxy
def test_listeners_that_are_as_they_were_start_nothing_anew(scene: Scene) -> None:
    server = Server(b"a")
    scene.apply(server)
    before = scene.balancer._worker()
    scene.apply(server)
    assert scene.balancer._worker() == before


@needs_haproxy
def test_a_balancer_without_listeners_runs_and_gets_some(scene: Scene) -> None:
    scene.balancer.apply([])
    assert scene.balancer.running
    assert scene.balancer.health() == []
    scene.apply(Server(b"a"))
    assert soon(lambda: answer(scene.port) == b"a")
    scene.balancer.apply([])
    assert soon(lambda: refused(scene.port))


@needs_haproxy
def test_a_refused_configuration_leaves_the_former_in_force(scene: Scene) -> None:
    server = Server(b"a")
    scene.apply(server)
    assert soon(lambda: answer(scene.port) == b"a")
    with pytest.raises(LocalError, match="checking load balancer test"):
        scene.balancer.apply([Listener(scene.port, (BalancerTarget("a b", LOOPBACK, server.port),))])
    assert ask(scene.port) == b"a"


@needs_haproxy
def test_a_port_that_is_taken_is_an_error(scene: Scene) -> None:
    with (
        socket.create_server(("127.0.0.1", scene.port)),
        pytest.raises(LocalError, match=r"load balancer test did not start"),
    ):
        scene.apply(Server(b"a"))


@needs_haproxy
def test_a_stopped_balancer_leaves_no_process(scene: Scene) -> None:
    scene.apply(Server(b"a"))
    scene.balancer.stop()
    assert not scene.balancer.running
    assert soon(lambda: refused(scene.port))
