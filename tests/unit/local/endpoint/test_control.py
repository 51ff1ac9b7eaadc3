"""How the endpoint is started, and what it takes along from the host's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from local.downloads import Downloads
from local.endpoint.account import environment
from local.endpoint.control import Endpoint
from local.layout import Layout
from local.processes import Daemon, Identity, identify

PROXY = "http://proxy.invalid:3128"
HOST = {
    "http_proxy": PROXY,
    "HTTPS_PROXY": PROXY,
    "no_proxy": "mirror.example.com",
    "PIP_INDEX_URL": "https://mirror.example.com/simple",
    "npm_config_registry": "https://mirror.example.com/npm",
}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of an endpoint that was started on a host with the variables of `HOST`, and only seems to run."""
    seen: dict[str, str] = {}

    def start(_: Daemon, _argv: object, *, environment: dict[str, str], directory: Path) -> None:
        seen.update(environment)

    def ourselves(_: Daemon) -> Identity | None:
        return identify(os.getpid())

    for name in ("NO_PROXY", "HTTP_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**HOST, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), "AWS_PROFILE": "mine"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "ca.pem").touch()
    monkeypatch.setattr(Daemon, "start", start)
    monkeypatch.setattr(Daemon, "identity", property(ourselves))
    monkeypatch.setattr(Endpoint, "_answers", lambda _: True)
    layout = Layout("started", tmp_path / "state", tmp_path / "cache")
    layout.make_directories()
    Endpoint(layout).start()
    return seen


def test_its_builds_reach_registries_as_the_host_does(started: dict[str, str], tmp_path: Path) -> None:
    build = Downloads(tmp_path / "downloads").environment("u", started)
    expected = {**HOST, "no_proxy": "mirror.example.com,localhost,127.0.0.1"}
    assert {name: build.variables.get(name) for name in HOST} == expected
    assert tmp_path / "ca.pem" in [mount.source for mount in build.mounts]


def test_nothing_else_of_the_host_is_taken_along(started: dict[str, str]) -> None:
    assert "AWS_PROFILE" not in started
    assert "HOME" not in started


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "localhost,127.0.0.1"),
        ({"no_proxy": ""}, "localhost,127.0.0.1"),
        ({"NO_PROXY": ".example.com, localhost"}, ".example.com,localhost,127.0.0.1"),
        ({"no_proxy": "first.example", "NO_PROXY": "second.example"}, "first.example,localhost,127.0.0.1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_whoever_uses_the_endpoint_reaches_it_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    variables = environment(4566)
    assert (variables["no_proxy"], variables["NO_PROXY"]) == (expected, expected)


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that answers each GET with 404, as the endpoint does on a path that it has not."""

    class Absent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Absent) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_it_is_asked_directly_whether_it_answers(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    layout = Layout("asked", tmp_path / "state", tmp_path / "cache")
    layout.make_directories()
    (layout.run / "endpoint.json").write_text(f'{{"port": {port}}}')
    assert Endpoint(layout)._answers()
