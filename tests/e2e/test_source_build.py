"""The source build, deployed: tokens verified by lua-resty-openidc, both bridges, commits that must match the lock."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.deployment import PROXY, Deployment
from tests.conftest import REPOSITORY, SOURCE_LISTEN, SOURCE_NAME, command
from tests.e2e.tree import copy_tree

pytestmark = [pytest.mark.machine, pytest.mark.source]


def test_four_scenarios_pass_with_the_lua_bridge(source_deployment: Deployment) -> None:
    done = command("execute_e2e_tests.sh", "--name", SOURCE_NAME)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tokens_are_verified_by_openidc(source_deployment: Deployment) -> None:
    proxy = source_deployment.with_role(PROXY)[0]
    runtime = proxy.run(["cat", "/nginx/etc/nginx/runtime.json"], check=True).stdout
    assert '"provider": "openidc"' in runtime


def test_nginx_is_the_pinned_release(source_deployment: Deployment) -> None:
    proxy = source_deployment.with_role(PROXY)[0]
    done = proxy.run(["chroot", "/nginx", "/usr/sbin/nginx", "-v"], check=True)
    lock = (REPOSITORY / "components/secure_proxy/sources.lock").read_text()
    version = done.stderr.strip().rpartition("/")[2]
    assert f"release-{version}" in lock


def test_four_scenarios_pass_with_the_websockify_bridge(source_deployment: Deployment, source_base_url: str) -> None:
    source = ("--nginx-build", "source", "--source-base-url", source_base_url)
    place = ("--name", SOURCE_NAME, "--listen", SOURCE_LISTEN)
    up = command("deploy.sh", *place, *source, "--bridge", "websockify", timeout=1500)
    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    done = command("execute_e2e_tests.sh", "--name", SOURCE_NAME)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_source_of_another_commit_stops_the_build_with_both_ids(tmp_path: Path, source_base_url: str) -> None:
    name = "tests-source-lock"
    lock = copy_tree(tmp_path) / "components/secure_proxy/sources.lock"
    wrong = "0" * 40
    words = lock.read_text().splitlines()
    line = next(number for number, text in enumerate(words) if "ngx_devel_kit" in text)
    pinned = next(word for word in words[line].split() if len(word) == 40)
    words[line] = words[line].replace(pinned, wrong)
    lock.write_text("\n".join(words) + "\n")
    try:
        done = subprocess.run(
            [str(REPOSITORY / ".venv/bin/python"), "-m", "local", "up", "--name", name, "--listen", "127.83.0.5",
             "--nginx-build", "source", "--source-base-url", source_base_url],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert wrong in done.stderr
        assert pinned in done.stderr
    finally:
        command("destroy.sh", "--name", name)
