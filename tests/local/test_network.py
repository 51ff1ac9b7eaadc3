"""Hardware addresses on the bridge: who has learned one need not learn another when machines come and go."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from local.network import Namespace, Network
from local.processes import run_tool

pytestmark = pytest.mark.machine

NETWORK = Network("sp-mactest", IPv4Network("10.213.251.0/24"))
FIRST, SECOND = NETWORK.machine_addresses()[:2]


@pytest.fixture
def network() -> Iterator[Network]:
    NETWORK.create()
    yield NETWORK
    run_tool(["ip", "link", "delete", NETWORK.bridge], what="removing the bridge")


def cabled(path: Path, address: IPv4Address) -> Namespace:
    namespace = Namespace(path)
    namespace.create()
    namespace.connect(NETWORK, f"sp-mac-{NETWORK.number(address)}", address)
    return namespace


def hardware_address(device: str, namespace: Namespace | None = None) -> str:
    command = ["ip", "-brief", "link", "show", device]
    words = run_tool(namespace.enter(command) if namespace else command, what="looking at a device")
    return words.split()[2]


def test_the_bridge_keeps_its_address_whatever_is_cabled_to_it(network: Network, tmp_path: Path) -> None:
    before = hardware_address(network.bridge)
    namespaces = [cabled(tmp_path / str(address), address) for address in (FIRST, SECOND)]
    assert hardware_address(network.bridge) == before
    for namespace in namespaces:
        namespace.remove()
        assert hardware_address(network.bridge) == before


def test_the_next_machine_of_an_address_is_found_where_the_former_was(network: Network, tmp_path: Path) -> None:
    found = []
    for name in ("former", "next"):
        namespace = cabled(tmp_path / name, FIRST)
        found.append(hardware_address("eth0", namespace))
        namespace.remove()
        run_tool(["ip", "link", "delete", f"sp-mac-{network.number(FIRST)}"], what="removing a cable")
    assert found[0] == found[1]
    other = cabled(tmp_path / "other", SECOND)
    assert hardware_address("eth0", other) != found[0]
    other.remove()
