"""The mistakes that users make, each refused in words before anything is built."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.layout import Layout
from tests.conftest import REPOSITORY, command
from tests.e2e.tree import copy_tree

pytestmark = pytest.mark.machine

OTHER = "tests-refused"
LISTEN = "127.83.0.4"


def deploy(*options: str, tree: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    python = REPOSITORY / ".venv/bin/python"
    return subprocess.run(
        [str(python), "-m", "local", "up", "--name", OTHER, "--listen", LISTEN, *options],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The error's text; fails unless the command could not start and left nothing."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert not Layout(OTHER).state.exists()
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def with_settings(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A copy of the tree whose projectSettings were changed."""

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        settings = copy_tree(tmp_path) / "cdk.json"
        document = json.loads(settings.read_text())
        change(document["projectSettings"])
        settings.write_text(json.dumps(document))
        return tmp_path

    return make


def test_an_unknown_setting_is_named(with_settings: Callable[[Callable[[dict[str, Any]], None]], Path]) -> None:
    tree = with_settings(lambda settings: settings["proxySettings"].update(proxyWorkers=2))
    assert "cdk.json: projectSettings.proxySettings.proxyWorkers" in refused(deploy(tree=tree))


def test_a_port_clash_is_named(with_settings: Callable[[Callable[[dict[str, Any]], None]], Path]) -> None:
    tree = with_settings(lambda settings: settings["mockServers"].update(authorizerPort=9000))
    error = refused(deploy(tree=tree))
    assert "cdk.json: projectSettings." in error
    assert "9000" in error


def test_websockify_of_the_distribution_build_is_refused() -> None:
    error = refused(deploy("--bridge", "websockify"))
    assert "websockify" in error
    assert "source" in error


def test_openidc_of_the_distribution_build_is_refused() -> None:
    error = refused(deploy("--authentication", "openidc"))
    assert "openidc" in error
    assert "source" in error


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LISTEN, 10000))
        holder.listen()
        error = refused(deploy())
    assert "port 10000" in error
    assert "--listen" in error


def test_an_address_of_the_outside_is_refused() -> None:
    error = refused(deploy("--listen", "0.0.0.0"))  # noqa: S104  (refused is what is tested)
    assert "loopback" in error


def test_a_user_without_root_is_told_so(tmp_path: Path) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "deploy.sh", "--local"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "needs root" in done.stderr


@pytest.mark.parametrize("script", ["deploy.sh", "destroy.sh", "execute_e2e_tests.sh"])
def test_an_unknown_option_is_a_usage_error(script: str) -> None:
    done = command(script, "--name", "tests", "--no-such-option")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--no-such-option" in done.stderr
