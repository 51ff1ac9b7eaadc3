"""The deployment's network: a bridge with a private /24, and network namespaces cabled to it.

Address plan of the /24: .1 the bridge itself (name server), .2 to .9 load balancers, .10 and up machines.
Namespaces are mounted on files of the deployment's own state directory, so nothing is left in /run/netns.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_network
from pathlib import Path

from local.errors import LocalError
from local.mounts import unmount_below
from local.processes import run_tool

_BALANCERS = range(2, 10)
_MACHINES = range(10, 255)
_DEFAULT = IPv4Network("0.0.0.0/0")


def candidate_subnets() -> Iterator[IPv4Network]:
    """Private /24s (RFC 1918) from corners that home, office and container networks seldom use."""
    for block in ("10.213.0.0/16", "172.29.0.0/16", "192.168.208.0/20"):
        yield from IPv4Network(block).subnets(new_prefix=24)


def choose_subnet(name: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """A /24 that overlaps none of `taken`: the same one for the same `name` if it is free. Raises `LocalError`."""
    used = [network for network in taken if network != _DEFAULT]
    candidates = list(candidate_subnets())
    start = zlib.crc32(name.encode()) % 256
    for candidate in candidates[start:] + candidates[:start]:
        if not any(candidate.overlaps(network) for network in used):
            return candidate
    raise LocalError(
        "no private /24 is free: this host routes 10.213.0.0/16, 172.29.0.0/16 and 192.168.208.0/20 elsewhere; "
        "remove a route (ip route show table all) or leave the VPN that made it"
    )


def host_networks() -> list[IPv4Network]:
    """All IPv4 networks that this host routes or has addresses in."""
    routes = json.loads(run_tool(["ip", "-json", "-4", "route", "show", "table", "all"], what="reading the routes"))
    found = {str(route.get("dst", "default")) for route in routes}
    return [_DEFAULT if text == "default" else ip_network(text, strict=False) for text in found]  # type: ignore[misc]


@dataclass(frozen=True)
class Network:
    """A bridge of the host and its subnet."""

    bridge: str
    subnet: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """The bridge's own address."""
        return self.subnet[1]

    def interface(self, address: IPv4Address) -> IPv4Interface:
        return IPv4Interface(f"{address}/{self.subnet.prefixlen}")

    def balancer_addresses(self) -> list[IPv4Address]:
        return [self.subnet[number] for number in _BALANCERS]

    def machine_addresses(self) -> list[IPv4Address]:
        return [self.subnet[number] for number in _MACHINES]

    def number(self, address: IPv4Address) -> int:
        """The last byte of a machine's address, which numbers its cable."""
        return int(address) - int(self.subnet.network_address)

    def create(self) -> None:
        """Make the bridge, with its address, up. Raises `LocalError` if it exists.

        Unless a bridge is given a hardware address, it takes the lowest of its ports': when that port goes, machines
        would send to an address that nobody has until their ARP entries run out, half a minute later.
        """
        _ip("link", "add", self.bridge, "address", hardware_address(self.gateway), "type", "bridge")
        _ip("link", "set", self.bridge, "type", "bridge", "forward_delay", "0")
        self.add_address(self.gateway)
        _ip("link", "set", self.bridge, "up")

    def add_address(self, address: IPv4Address) -> None:
        """Give the host `address` on the bridge; nothing happens if it has it."""
        _ip("address", "replace", str(self.interface(address)), "dev", self.bridge)


def hardware_address(address: IPv4Address) -> str:
    """A locally administered Ethernet address made of an IPv4 address: whoever knows the former machine of an address
    finds the next one."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)


@dataclass(frozen=True)
class Namespace:
    """A network namespace mounted on the file `path`."""

    path: Path

    def create(self) -> None:
        """Make the namespace with its loopback device up."""
        self.path.touch()
        run_tool(["unshare", f"--net={self.path}", "true"], what="making a network namespace")
        self._ip("link", "set", "lo", "up")

    def add_loopback_address(self, address: IPv4Address) -> None:
        """An address that exists in this namespace alone."""
        self._ip("address", "add", f"{address}/32", "dev", "lo")

    def connect(self, network: Network, cable: str, address: IPv4Address) -> None:
        """Cable `eth0` of the namespace to the bridge, with `address`; `cable` is the host's end."""
        eth0 = ["name", "eth0", "address", hardware_address(address), "netns", str(self.path)]
        _ip("link", "add", cable, "type", "veth", "peer", *eth0)
        _ip("link", "set", cable, "master", network.bridge, "up")
        self._address(network.interface(address))
        self._ip("route", "add", "default", "via", str(network.gateway))

    def isolate(self, address: IPv4Interface) -> None:
        """An `eth0` with `address` whose cable leads nowhere: its other end stays in the namespace."""
        self._ip("link", "add", "eth0", "type", "veth", "peer", "name", "nowhere0")
        self._ip("link", "set", "nowhere0", "up")
        self._address(address)

    def _address(self, address: IPv4Interface) -> None:
        self._ip("address", "add", str(address), "dev", "eth0")
        self._ip("link", "set", "eth0", "up")

    def enter(self, argv: list[str]) -> list[str]:
        """The command that runs `argv` with this namespace's network and the host's everything else."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def remove(self) -> None:
        """Unmount the namespace and remove its file. It ends with the last process in it."""
        unmount_below(self.path)
        self.path.unlink(missing_ok=True)

    def _ip(self, *words: str) -> str:
        return run_tool(self.enter(["ip", *words]), what="configuring a network namespace")


def interfaces(prefix: str) -> list[str]:
    """The host's network devices whose names start with `prefix`."""
    return sorted(path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(prefix))


def remove_interface(name: str) -> None:
    """Remove a network device; a cable goes with its other end."""
    _ip("link", "delete", name)


def _ip(*words: str) -> str:
    return run_tool(["ip", *words], what="configuring the network")
