"""Fixtures of the authentication tests: roots of both builds, and what stands behind the proxy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.components.mock_servers.conftest import node, servers
from tests.proxy.auth import tokens
from tests.proxy.auth.authorizer import reference_authorizer
from tests.proxy.auth.issuer import Issuer
from tests.proxy.auth.proxy import AuthProxy, Situation, running
from tests.proxy.conftest import copy_of_jail

__all__ = ["node", "servers"]

EXTERNAL, OPENIDC = "external", "openidc"
# What a test takes that must hold for both providers; the second needs the source build.
PROVIDERS = [EXTERNAL, pytest.param(OPENIDC, marks=pytest.mark.source)]
ROOTS = {"source": "source_root", "distribution": "nginx_root"}


@dataclass
class Setting:
    """A proxy with its issuer."""

    proxy: AuthProxy
    issuer: Issuer
    provider: str

    def token(self, **changes: Any) -> str:
        """A token that the proxy accepts, unless the changed claims prevent it."""
        return tokens.token(self.issuer.key, tokens.claims(self.issuer.url, **changes))


SettingMaker = Callable[..., AbstractContextManager[Setting]]


@pytest.fixture(scope="session")
def source_root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The jail of the source build: `NGINX_SOURCE_ROOT` if it is set, else a copy of the deployed image's."""
    given = os.environ.get("NGINX_SOURCE_ROOT")
    if given:
        return Path(given)
    return copy_of_jail(request.getfixturevalue("source_deployment"), tmp_path_factory.mktemp("source-jail"))


@pytest.fixture(scope="session")
def make_setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SettingMaker:
    """Start a proxy with its provider; keyword arguments are keys of the policy's `authentication`."""

    @contextmanager
    def make(
        provider: str,
        *,
        issuer: Issuer | None = None,
        sections: dict[str, Any] | None = None,
        image: dict[str, str] | None = None,
        http_error_level: str = "notice",
        names: str = "127.0.0.1",
        build: str | None = None,
        ready: bool = True,
        **authentication: Any,
    ) -> Iterator[Setting]:
        directory = tmp_path_factory.mktemp("proxy")
        directory.parent.parent.chmod(0o755)
        with ExitStack() as stack:
            given = issuer or stack.enter_context(Issuer())
            policy: dict[str, Any] = {"provider": provider, **authentication}
            if provider == EXTERNAL and "authorizerUrl" not in authentication:
                node_program, server_files = request.getfixturevalue("node"), request.getfixturevalue("servers")
                authorizer = reference_authorizer(node_program, server_files, directory, given)
                policy["authorizerUrl"] = f"http://127.0.0.1:{stack.enter_context(authorizer).port}/authorize"
            build = build or ("source" if provider == OPENIDC else "distribution")
            situation = Situation(
                build=build,
                root=request.getfixturevalue(ROOTS[build]),
                oauth_port=given.port,
                authentication=policy,
                sections=sections or {},
                image=image or {},
                http_error_level=http_error_level,
                names=names,
            )
            proxy = stack.enter_context(running(directory, situation, ready=ready))
            yield Setting(proxy, given, provider)

    return make
