"""The jail and its service on a booted machine: what an intruder in a worker would find."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest

from local.deployment import PROXY, Deployment
from local.machine import Machine
from tests.machines import launch

pytestmark = pytest.mark.machine

JAIL = "nginx"
SHELLS = {"sh", "bash", "dash", "ash", "busybox", "zsh", "rbash"}


@pytest.fixture
def proxy(deployment: Deployment) -> Machine:
    return deployment.with_role(PROXY)[0]


@pytest.fixture
def jail(proxy: Machine) -> Path:
    return proxy.root / JAIL


def workers(machine: Machine) -> list[str]:
    found = machine.run(["pgrep", "--full", "nginx: worker process"], check=True).stdout.split()
    assert found
    return found


def status_field(machine: Machine, pid: str, field: str) -> str:
    text = machine.run(["cat", f"/proc/{pid}/status"], check=True).stdout
    found = re.search(rf"^{field}:\s+(.*)$", text, re.MULTILINE)
    assert found
    return found.group(1)


def test_workers_run_as_nginx(proxy: Machine) -> None:
    uid = proxy.run(["id", "--user", "nginx"], check=True).stdout.strip()
    assert {status_field(proxy, pid, "Uid") for pid in workers(proxy)} == {"\t".join([uid] * 4)}


# The inheritable set is left out: systemd-nspawn gives one to all that it boots, and without ambient or file
# capabilities it grants nothing (capabilities(7)).
@pytest.mark.parametrize("field", ["CapEff", "CapPrm", "CapAmb"])
def test_workers_have_no_capabilities(proxy: Machine, field: str) -> None:
    assert {int(status_field(proxy, pid, field), 16) for pid in workers(proxy)} == {0}


def test_workers_can_gain_no_privileges(proxy: Machine) -> None:
    assert {status_field(proxy, pid, "NoNewPrivs") for pid in workers(proxy)} == {"1"}


def test_workers_see_the_jail_as_their_root(proxy: Machine) -> None:
    binary = proxy.run(["stat", "--format=%d:%i", f"/{JAIL}/usr/sbin/nginx"], check=True).stdout
    for pid in workers(proxy):
        assert proxy.run(["stat", "--format=%d:%i", f"/proc/{pid}/root/usr/sbin/nginx"], check=True).stdout == binary
        for outside in ("/bin/sh", "/etc/shadow", "/etc/secure-proxy", f"/{JAIL}"):
            assert proxy.run(["test", "-e", outside]).returncode == 0, f"{outside} is not on the machine at all"
            assert proxy.run(["test", "-e", f"/proc/{pid}/root{outside}"]).returncode != 0


def test_the_key_is_unreadable_to_the_workers_user(proxy: Machine) -> None:
    for name in ("serverkey.pem", "servercert.pem"):
        done = proxy.run(
            ["setpriv", "--reuid=nginx", "--regid=nginx", "--clear-groups", "cat", f"/{JAIL}/etc/nginx/certs/{name}"]
        )
        assert done.returncode != 0
        assert "Permission denied" in done.stderr


def test_the_jail_has_no_shell(jail: Path) -> None:
    assert [path for path in jail.rglob("*") if path.name in SHELLS and not path.is_dir()] == []


def test_the_jail_has_no_setuid_file(jail: Path) -> None:
    special = [p for p in jail.rglob("*") if not p.is_symlink() and p.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert special == []


def test_the_jail_has_no_shadow(jail: Path) -> None:
    assert [path for path in jail.rglob("*") if path.name.rstrip("-") in ("shadow", "gshadow")] == []


def test_nginx_writes_only_logs_cache_and_run(proxy: Machine, jail: Path) -> None:
    uid = int(proxy.run(["id", "--user", "nginx"], check=True).stdout)
    writable = set()
    for path in jail.rglob("*"):
        mode = path.lstat()
        if stat.S_ISLNK(mode.st_mode) or stat.S_ISCHR(mode.st_mode):
            continue
        owned = mode.st_uid == uid and mode.st_mode & stat.S_IWUSR
        if owned or mode.st_mode & stat.S_IWOTH:
            writable.add("/" + str(path.relative_to(jail)))
    allowed = ("/etc/nginx/logs", "/var/cache/nginx", "/run")
    assert [path for path in sorted(writable) if not path.startswith(allowed)] == []


def test_two_machines_of_one_image_have_different_keys(deployment: Deployment, proxy: Machine) -> None:
    other = launch(deployment, PROXY)
    try:
        other.wait_booted()
        keys = [(m.root / JAIL / "etc/nginx/certs/serverkey.pem").read_bytes() for m in (proxy, other)]
        assert keys[0] != keys[1]
    finally:
        deployment.terminate(other.name)


def test_the_image_holds_no_key(deployment: Deployment) -> None:
    image = deployment.images.find(PROXY)
    assert image
    assert list((image.root / JAIL / "etc/nginx").rglob("server*.pem")) == []


def test_the_unit_that_ships_is_exposed_at_most_2_5(jail: Path) -> None:
    unit = jail / "etc/systemd/system/nginx.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Overall exposure level for nginx\.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout[-500:]
    assert float(found.group(1)) <= 2.5


def test_the_status_document_is_for_loopback_alone(deployment: Deployment, proxy: Machine) -> None:
    port = deployment.record.ports.health
    ask = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "5"]
    assert proxy.run([*ask, f"http://127.0.0.1:{port}/nginx_status"]).stdout == "200"
    assert proxy.run([*ask, f"http://{proxy.address}:{port}/nginx_status"]).stdout == "403"


def test_nothing_listens_beyond_the_three_ports(deployment: Deployment, proxy: Machine) -> None:
    ports = deployment.record.ports
    lines = proxy.run(["ss", "--no-header", "--listening", "--tcp", "--numeric"], check=True).stdout.splitlines()
    sockets = [line.split()[3].rpartition(":") for line in lines]
    # The metadata service of the platform lives in the machine's namespace, but is none of its programs.
    listening = {int(port) for address, _, port in sockets if address != "169.254.169.254"}
    assert listening == {ports.wss, ports.oauth, ports.health}
