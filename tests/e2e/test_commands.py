"""The commands as a user types them: verify passes, and fails when the product is broken; a second deploy is quick."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.deployment import MOCKS, PROXY, Deployment
from local.machine import Machine
from tests.conftest import NAME, REPOSITORY, command

pytestmark = pytest.mark.machine


def verify(*options: str) -> subprocess.CompletedProcess[str]:
    return command("execute_e2e_tests.sh", "--name", NAME, *options)


@contextmanager
def changed_file(machine: Machine, path: str, content: str, *reload: str) -> Iterator[None]:
    """The file on the machine holds `content`; put back afterwards. `reload` makes a service notice."""
    file = machine.root / path.lstrip("/")
    before = file.read_text()
    file.write_text(content)
    try:
        machine.run(reload, check=True)
        yield
    finally:
        file.write_text(before)
        machine.run(reload, check=True)


@contextmanager
def other_echo(machine: Machine, change: str) -> Iterator[None]:
    """In place of the echo service one that passes each chunk through the Python expression `change`."""
    program = (
        "import asyncio\n"
        "async def serve(r, w):\n"
        "    while chunk := await r.read(65536):\n"
        f"        w.write({change})\n"
        "        await w.drain()\n"
        "    w.close()\n"
        "async def main():\n"
        "    await (await asyncio.start_server(serve, '0.0.0.0', 9000)).serve_forever()\n"
        "asyncio.run(main())\n"
    )
    machine.run(["systemctl", "stop", "mock-echo.service"], check=True)
    machine.run(["systemd-run", "--unit=other-echo", "python3", "-c", program], check=True)
    try:
        yield
    finally:
        machine.run(["systemctl", "stop", "other-echo.service"])
        machine.run(["systemctl", "start", "mock-echo.service"], check=True)


def test_four_scenarios_pass(deployment: Deployment) -> None:
    done = verify("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    scenarios = json.loads(done.stdout)["result"]["scenarios"]
    assert [scenario["status"] for scenario in scenarios] == ["passed"] * 4


def test_a_proxy_that_accepts_an_invalid_token_fails_the_run(deployment: Deployment) -> None:
    proxy = deployment.with_role(PROXY)[0]
    lua = "/nginx/usr/share/lua/secure_proxy/auth/external.lua"
    accept_anyone = 'function _M.verify() return { subject = "anyone", issuer = "anywhere" } end\n\nreturn _M\n'
    accept_all = (proxy.root / lua[1:]).read_text().replace("return _M\n", accept_anyone)
    with changed_file(proxy, lua, accept_all, "systemctl", "restart", "nginx.service"):
        done = verify()
    assert done.returncode == 1, done.stdout
    assert "403" in done.stdout


def test_an_echo_altered_by_one_byte_fails_the_run(deployment: Deployment) -> None:
    with other_echo(deployment.with_role(MOCKS)[0], "chunk.replace(chunk[:1], bytes([chunk[0] ^ 1]), 1)"):
        done = verify()
    assert done.returncode == 1, done.stdout


def test_an_echo_that_loses_one_byte_fails_the_run(deployment: Deployment) -> None:
    with other_echo(deployment.with_role(MOCKS)[0], "chunk[:-1]"):
        done = verify("--timeout", "5")
    assert done.returncode == 1, done.stdout


def test_a_configuration_of_another_issuer_fails_the_run(deployment: Deployment) -> None:
    mock = deployment.with_role(MOCKS)[0]
    settings = "/etc/secure-proxy/instance.env"
    with changed_file(mock, settings, "BACKEND_HOST=other.example.com\n", "systemctl", "restart", "mock-oauth.service"):
        done = verify()
    assert done.returncode == 1, done.stdout
    assert "other.example.com" in done.stdout


def test_the_run_passes_again_once_all_is_mended(deployment: Deployment) -> None:
    done = verify()
    assert done.returncode == 0, done.stdout + done.stderr


def test_status_has_the_documented_keys(deployment: Deployment) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local", "status", "--json", "--name", NAME],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    state = json.loads(done.stdout)
    assert {"host", "wss_port", "oauth_port"} <= set(state["proxy"])
    assert {machine["role"] for machine in state["machines"]} == {PROXY, MOCKS}
    assert {machine["health"] for machine in state["machines"]} == {"healthy"}


@pytest.mark.parametrize("script", ["deploy.sh", "destroy.sh", "execute_e2e_tests.sh"])
def test_help_starts_nothing(script: str) -> None:
    done = command(script, "--help", timeout=20)
    assert done.returncode == 0
    assert "Usage: bash" in done.stdout


def test_verifying_what_is_not_deployed_says_how_to_deploy() -> None:
    done = command("execute_e2e_tests.sh", "--name", "nothing-here")
    assert done.returncode == 2
    assert "deploy.sh" in done.stderr
