"""What is missing or wrong is named before anything is made."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from local.errors import UsageError
from local.prerequisites import (
    TOOLS,
    check_listen,
    check_platform,
    check_ports,
    check_space,
    listening_process,
    missing_packages,
)

LOOPBACK = IPv4Address("127.0.0.1")


def test_another_system_is_refused() -> None:
    with pytest.raises(UsageError, match=r"needs Linux.*this is Darwin"):
        check_platform("Darwin", 0)


def test_another_user_is_refused() -> None:
    with pytest.raises(UsageError, match="needs root"):
        check_platform("Linux", 1000)


def test_root_on_linux_passes() -> None:
    check_platform("Linux", 0)


def test_missing_tools_and_files_are_named_by_package_once(tmp_path: Path) -> None:
    tools = {"sh": "dash", "no-such-tool": "some-package", "no-other-tool": "some-package"}
    files = {str(tmp_path): "here", str(tmp_path / "none"): "keyring"}
    assert missing_packages(tools, files) == ["keyring", "some-package"]


def test_the_tools_that_machines_need_are_all_known() -> None:
    assert {"systemd-nspawn", "mmdebstrap", "haproxy", "dnsmasq", "ip", "nsenter"} <= set(TOOLS)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.10", "8.8.8.8", "::1", "localhost", ""])  # noqa: S104
def test_listening_to_the_world_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        check_listen(address)


def test_any_loopback_address_passes() -> None:
    assert check_listen("127.83.0.1") == IPv4Address("127.83.0.1")


def test_too_little_space_is_an_error_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{tmp_path}/not/yet: .* GiB free, .* GiB needed"):
        check_space([tmp_path / "not/yet"], needed=2**60)


def test_enough_space_passes(tmp_path: Path) -> None:
    check_space([tmp_path], needed=1)


def test_a_taken_port_is_named_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            UsageError, match=rf"port {port} on 127.0.0.1 is not free: taken by process {os.getpid()} \("
        ):
            check_ports(LOOPBACK, [port])


def test_a_port_that_is_taken_on_all_addresses_is_taken_here_too() -> None:
    with socket.create_server(("", 0)) as server, pytest.raises(UsageError, match="taken by process"):
        check_ports(LOOPBACK, [server.getsockname()[1]])


def test_free_ports_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    check_ports(LOOPBACK, [port])


def test_a_port_nobody_listens_on_has_no_process() -> None:
    assert listening_process(1) is None
