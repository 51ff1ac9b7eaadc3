"""The deployment's network: subnet, addresses, mount points."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from local.errors import LocalError
from local.mounts import mount_points
from local.network import Network, candidate_subnets, choose_subnet, host_networks

DEFAULT = IPv4Network("0.0.0.0/0")


def test_a_free_host_gives_each_name_its_own_subnet_again_and_again() -> None:
    assert choose_subnet("a", [DEFAULT]) == choose_subnet("a", [DEFAULT])
    assert choose_subnet("a", []) != choose_subnet("b", [])


def test_the_subnet_is_private_and_a_slash_24() -> None:
    subnet = choose_subnet("a", [])
    assert subnet.is_private
    assert subnet.prefixlen == 24


def test_a_taken_subnet_is_not_chosen() -> None:
    first = choose_subnet("a", [])
    assert choose_subnet("a", [first]) != first


@pytest.mark.parametrize("taken", ["10.0.0.0/8", "10.213.0.0/16"])
def test_a_route_to_the_whole_range_leads_to_another_range(taken: str) -> None:
    chosen = choose_subnet("a", [DEFAULT, IPv4Network(taken)])
    assert not chosen.overlaps(IPv4Network(taken))


def test_a_single_address_of_a_subnet_counts_as_taken() -> None:
    first = choose_subnet("a", [])
    assert choose_subnet("a", [IPv4Network(f"{first[77]}/32")]) != first


def test_no_free_subnet_is_an_error_with_the_remedy() -> None:
    with pytest.raises(LocalError, match="remove a route"):
        choose_subnet("a", candidate_subnets())


def test_the_hosts_own_networks_are_seen() -> None:
    assert any(network.subnet_of(IPv4Network("127.0.0.0/8")) for network in host_networks())


def test_bridge_balancers_and_machines_share_no_address() -> None:
    network = Network("sp-0", IPv4Network("10.213.7.0/24"))
    addresses = [network.gateway, *network.balancer_addresses(), *network.machine_addresses()]
    assert len(addresses) == len(set(addresses))
    assert all(address in network.subnet for address in addresses)
    assert network.subnet.broadcast_address not in addresses


def test_a_cable_has_the_number_of_its_address() -> None:
    network = Network("sp-0", IPv4Network("10.213.7.0/24"))
    assert [network.number(address) for address in network.machine_addresses()[:2]] == [10, 11]


def test_mount_points_are_found_deepest_first_with_blanks_in_their_names(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/vda rw\n"
        "2 1 0:4 x /state/a rw - nsfs nsfs rw\n"
        "3 1 0:4 x /state/a/b\\040c rw - nsfs nsfs rw\n"
        "4 1 0:4 x /state-of-another rw - nsfs nsfs rw\n"
    )
    assert mount_points(Path("/state"), table) == [Path("/state/a/b c"), Path("/state/a")]
