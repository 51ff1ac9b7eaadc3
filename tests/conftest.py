"""What the tiers share: one local deployment a run, made by the product's own commands."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.deployment import Deployment

REPOSITORY = Path(__file__).resolve().parents[1]
NAME = "tests"
# Its own loopback address, so that a deployment of the user's stays where it is.
LISTEN = "127.83.0.1"
NEEDS_ROOT = "a local deployment needs root"
SOURCE_NAME = "tests-source"
SOURCE_LISTEN = "127.83.0.2"


def pytest_configure() -> None:
    """Tests press Ctrl-C, which what a script starts in the background ignores, with all its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of the source build where there is nothing to build from, unless they were asked for.

    Skips those that make machines for a user who cannot.
    """
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("machine"):
                item.add_marker(pytest.mark.skip(reason=NEEDS_ROOT))
    if os.environ.get("SOURCE_BASE_URL") or config.option.markexpr:
        return
    source = [item for item in items if item.get_closest_marker("source")]
    config.hook.pytest_deselected(items=source)
    left_out = set(source)
    items[:] = [item for item in items if item not in left_out]


def command(script: str, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run one of the commands at the top of the tree as a user does, and return its output."""
    return subprocess.run(
        ["bash", str(REPOSITORY / script), "--local", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def deployed(name: str, listen: str, *options: str) -> Iterator[Deployment]:
    """A deployment for the length of the run; removed afterwards, also when it could not be made."""
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    try:
        up = command("deploy.sh", "--name", name, "--listen", listen, *options, timeout=1500)
        assert up.returncode == 0, f"deploy.sh failed:\n{up.stdout[-4000:]}\n{up.stderr[-4000:]}"
        yield Deployment.load(name)
    finally:
        down = command("destroy.sh", "--name", name)
        assert down.returncode == 0, f"destroy.sh failed:\n{down.stdout}\n{down.stderr}"


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    """The distribution build, deployed."""
    yield from deployed(NAME, LISTEN)


@pytest.fixture(scope="session")
def source_base_url() -> str:
    """Where the pinned repositories are cloned from; the tests that need it are marked `source`."""
    url = os.environ.get("SOURCE_BASE_URL")
    assert url, "the source build needs SOURCE_BASE_URL, e.g. https://github.com or file:///a/mirror"
    return url


@pytest.fixture(scope="session")
def source_deployment(source_base_url: str) -> Iterator[Deployment]:
    """The source build, deployed."""
    yield from deployed(SOURCE_NAME, SOURCE_LISTEN, "--nginx-build", "source", "--source-base-url", source_base_url)
