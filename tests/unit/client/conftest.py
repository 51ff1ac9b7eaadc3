"""Fixtures of the client's tests: a throw-away CA, fake proxies, and the client run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from client.cli import main
from tests.unit.client.behaviour import Behaviour
from tests.unit.client.certificates import Authority, Certificate
from tests.unit.client.fake_proxy import FakeProxy
from tests.unit.client.outcome import Outcome


class StartProxy(Protocol):
    """Starts a fake proxy that stops with the test."""

    def __call__(
        self, behaviour: Behaviour | None = None, certificate: Certificate | None = None, **options: Any
    ) -> FakeProxy: ...


class RunClient(Protocol):
    """Runs a command of the client against a fake proxy, trusting the test CA unless `trust` says otherwise."""

    def __call__(
        self, proxy: FakeProxy, command: str, *options: str, trust: tuple[str, ...] | None = None
    ) -> Outcome: ...


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("localhost", "127.0.0.1", "::1")


@pytest.fixture
def start_proxy(certificate: Certificate) -> Iterator[StartProxy]:
    default = certificate
    with ExitStack() as proxies:

        def start(
            behaviour: Behaviour | None = None, certificate: Certificate | None = None, **options: Any
        ) -> FakeProxy:
            return proxies.enter_context(FakeProxy(certificate or default, behaviour, **options))

        yield start


@pytest.fixture
def proxy(start_proxy: StartProxy) -> FakeProxy:
    """A fake proxy that does everything right."""
    return start_proxy()


@pytest.fixture
def arguments(authority: Authority) -> Callable[..., list[str]]:
    """Makes the command line that reaches a fake proxy."""

    def make(proxy: FakeProxy, command: str, *options: str, trust: tuple[str, ...] | None = None) -> list[str]:
        trusting = ("--ca-file", str(authority.ca_file)) if trust is None else trust
        ports = ("--wss-port", str(proxy.wss_port), "--oauth-port", str(proxy.oauth_port))
        return [command, "--host", proxy.host, *ports, *trusting, *options]

    return make


@pytest.fixture
def run_client(arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> RunClient:
    def run(proxy: FakeProxy, command: str, *options: str, trust: tuple[str, ...] | None = None) -> Outcome:
        capsys.readouterr()
        code = main(arguments(proxy, command, *options, trust=trust))
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree."""
    return Path(__file__).parents[3]
