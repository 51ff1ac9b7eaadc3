"""destroy.sh leaves nothing, also after deploy.sh was killed at any moment; Ctrl-C cleans up by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.commands import Commands
from local.deployment import Deployment
from local.endpoint.control import Endpoint
from local.images import ImageStore
from local.layout import Layout
from stacks.names import OWNER_TAG
from tests.conftest import REPOSITORY, command
from tests.e2e.sessions import within
from tests.local_endpoint.inventory import inventory

pytestmark = pytest.mark.machine

NAME = "tests-killed"
LISTEN = "127.83.0.3"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files of the commands, and of nothing else."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def leftovers() -> list[str]:
    """What of the deployment is still on the host: processes, mounts, network namespaces, devices, files."""
    layout = Layout(NAME)
    needle = os.fsencode(str(layout.state))
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and process.name != str(os.getpid()):
            try:
                if needle in (process / "cmdline").read_bytes() or needle in os.fsencode((process / "root").readlink()):
                    found.append(f"process {process.name}")
            except OSError:
                continue
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    found += [f"mount {line}" for line in mounts.splitlines() if str(layout.state) in line or f"/{NAME}" in line]
    devices = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    found += [f"device {line}" for line in devices.splitlines() if line.split("@")[0].split()[0] == layout.bridge]
    if layout.state.exists():
        found.append(f"directory {layout.state}")
    return found + [f"temporary file {path}" for path in Path(os.environ["TMPDIR"]).iterdir()]


@contextmanager
def deploying() -> Iterator[subprocess.Popen[str]]:
    """deploy.sh under way, in a session of its own; whatever becomes of it is removed afterwards."""
    process = subprocess.Popen(
        ["bash", str(REPOSITORY / "deploy.sh"), "--local", "--name", NAME, "--listen", LISTEN],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        command("destroy.sh", "--name", NAME)


def read_until(process: subprocess.Popen[str], words: str, seconds: float = 300) -> None:
    """Follow the command's output until a line holds `words`."""
    assert process.stdout
    deadline = time.monotonic() + seconds
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
        assert time.monotonic() < deadline, "".join(seen)
    pytest.fail(f"deploy.sh ended before {words!r}:\n{''.join(seen)}")


def kill_and_destroy(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert leftovers(), "it was killed too early to show anything"
    done = command("destroy.sh", "--name", NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    assert leftovers() == []


@pytest.mark.parametrize("moment", ["cdk deploy EC2", "boot of the test machine", "waiting for Health"])
def test_a_deploy_killed_on_its_way_is_removed(moment: str) -> None:
    with deploying() as process:
        read_until(process, moment)
        kill_and_destroy(process)


@pytest.mark.parametrize("moment", ["cdk deploy EC2", "build/Parameters"])
def test_an_interrupted_deploy_stops_what_it_started(moment: str) -> None:
    with deploying() as process:
        read_until(process, moment)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert within(5, lambda: [entry for entry in leftovers() if not entry.startswith("directory")] == [])


def test_what_is_destroyed_is_gone_from_every_service_of_the_endpoint() -> None:
    """As on AWS: what is left is what an empty account has, and what bootstrapping made."""
    try:
        up = command("deploy.sh", "--name", NAME, "--listen", LISTEN)
        assert up.returncode == 0, up.stdout + up.stderr
        assert Commands(Layout(NAME)).destroy() == 0
        variables = Endpoint(Layout(NAME)).environment
        session = boto3.Session("local", "local", region_name=variables["AWS_REGION"])

        def client(service: str) -> Any:
            return session.client(service, endpoint_url=variables["AWS_ENDPOINT_URL"])  # type: ignore[call-overload]

        left = {kind: [name for name in names if "cdk-" not in name] for kind, names in inventory(client).items()}
        with mock_aws():
            empty = inventory(lambda service: boto3.client(service, "eu-central-1"))  # type: ignore[call-overload]
        assert {kind: len(names) for kind, names in left.items()} == {kind: len(names) for kind, names in empty.items()}
        ours = [{"Name": "tag-key", "Values": [OWNER_TAG]}]
        assert client("ec2").describe_images(Filters=ours)["Images"] == []
        assert client("ec2").describe_snapshots(Filters=ours)["Snapshots"] == []
        assert client("imagebuilder").list_images(owner="Self")["imageVersionList"] == []
        assert ImageStore(Layout(NAME).images).all() == []
        assert Deployment.load(NAME).machines == {}
    finally:
        done = command("destroy.sh", "--name", NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    assert leftovers() == []


def test_destroying_nothing_is_no_error() -> None:
    done = command("destroy.sh", "--name", "tests-never-there")
    assert done.returncode == 0
    assert "there was none" in done.stdout
