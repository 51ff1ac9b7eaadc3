"""Fixtures of the proxy tier: an NGINX root to run the bridge in, and proxies made from it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from local.deployment import PROXY, Deployment
from tests.proxy.nginx_harness import Proxy, running_proxy


class ProxyMaker(Protocol):
    """Starts a proxy with fields of ProxyOptions changed; a context manager that stops it."""

    def __call__(self, **options: object) -> AbstractContextManager[Proxy]: ...


def copy_of_jail(deployment: Deployment, directory: Path) -> Path:
    """The jail in the deployed proxy image, copied below `directory`."""
    image = deployment.images.find(PROXY)
    assert image is not None, "the deployment has no proxy image"
    jail = Path(image.description.parameters["JailBaseDir"])
    copy = directory / "root"
    # Not copytree(): the jail has devices, and reading /dev/random ends when the disk is full.
    subprocess.run(["cp", "--archive", str(image.root / jail.relative_to("/")), str(copy)], check=True)
    # The directories above belong to root alone; NGINX's workers must come through.
    for passed in (directory, directory.parent, copy):
        passed.chmod(0o755)
    return copy


@pytest.fixture(scope="session")
def nginx_root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with an NGINX to run: `NGINX_ROOT` if it is set, else a copy of the deployed image's jail."""
    given = os.environ.get("NGINX_ROOT")
    if given:
        return Path(given)
    return copy_of_jail(request.getfixturevalue("deployment"), tmp_path_factory.mktemp("jail"))


@pytest.fixture(scope="session")
def make_proxy(nginx_root: Path) -> ProxyMaker:
    """Start proxies with settings of their own."""

    def make(**options: object) -> AbstractContextManager[Proxy]:
        return running_proxy(nginx_root, **options)

    return make


@pytest.fixture(scope="module")
def shared_proxy(make_proxy: ProxyMaker) -> Iterator[Proxy]:
    """One proxy with an echoing backend for the tests of a module that leave it as it was."""
    with make_proxy() as running:
        yield running


@pytest.fixture
def proxy(shared_proxy: Proxy) -> Iterator[Proxy]:
    """The module's proxy. Whatever a test does to it, nothing may be logged as an error."""
    before = len(shared_proxy.errors())
    yield shared_proxy
    assert shared_proxy.errors()[before:] == []
