"""What the local target needs of this host, checked before anything is made."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from local.errors import UsageError
from local.processes import PROC
from local.traces import describe

# Tool → Debian package (the same names in Debian 12, 13 and Ubuntu 22.04, 24.04).
TOOLS: Mapping[str, str] = {
    "cp": "coreutils",
    "dnsmasq": "dnsmasq-base",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "journalctl": "systemd",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "ss": "iproute2",
    "systemd-nspawn": "systemd-container",
    "umount": "mount",
    "unshare": "util-linux",
}

# File → Debian package.
FILES: Mapping[str, str] = {"/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"}

_ADMIN_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"
_GIB = 2**30
NEEDED_SPACE = 4 * _GIB


def use_admin_path() -> None:
    """Let tools in the administrator's directories be found, which `su` leaves out of PATH."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:{_ADMIN_PATHS}"


def missing_packages(tools: Mapping[str, str] = TOOLS, files: Mapping[str, str] = FILES) -> list[str]:
    """The Debian packages whose tools or files are not there, by name."""
    lacking = {package for tool, package in tools.items() if shutil.which(tool) is None}
    lacking |= {package for file, package in files.items() if not Path(file).exists()}
    return sorted(lacking)


def check_platform(system: str | None = None, user: int | None = None) -> None:
    """Raise `UsageError` unless this is Linux and we are root."""
    system = system or platform.system()
    if system != "Linux":
        raise UsageError(f"the local target needs Linux (network namespaces, systemd-nspawn); this is {system}")
    if (os.geteuid() if user is None else user) != 0:
        raise UsageError("the local target needs root (namespaces, mounts, machines); run the command with sudo")


def check_tools() -> None:
    """Raise `UsageError` naming the Debian packages to install."""
    packages = missing_packages()
    if packages:
        raise UsageError(f"missing Debian packages; install them with: apt-get install {' '.join(packages)}")


def check_listen(text: str) -> IPv4Address:
    """The address of the public listeners; raises `UsageError` unless it is an IPv4 loopback address."""
    try:
        address = IPv4Address(text)
    except ValueError:
        raise UsageError(f"--listen {text}: not an IPv4 address; use a loopback address such as 127.0.0.2") from None
    if not address.is_loopback:
        raise UsageError(
            f"--listen {text}: only loopback addresses (127.0.0.0/8) are allowed: the mock servers behind the proxy "
            "give a token to anyone who asks"
        )
    return address


def check_space(places: Iterable[Path], needed: int = NEEDED_SPACE) -> None:
    """Raise `UsageError` unless the file systems of `places` have `needed` bytes free."""
    for place in places:
        existing = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise UsageError(
                f"{place}: {free / _GIB:.1f} GiB free, {needed / _GIB:.0f} GiB needed; free space there, "
                "or .venv/bin/python -m local down --purge-cache"
            )


def check_ports(address: IPv4Address, ports: Iterable[int]) -> None:
    """Raise `UsageError` naming each port of `address` that something else listens on, and what that is."""
    problems = []
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((str(address), port))
            except OSError as error:
                holder = listening_process(port)
                words = f"taken by process {describe(holder)}" if holder else str(error.strerror)
                problems.append(f"port {port} on {address} is not free: {words}")
    if problems:
        raise UsageError("\n".join([*problems, "stop what uses them, or use another address: --listen 127.0.0.2"]))


def listening_process(port: int, proc: Path = PROC) -> int | None:
    """The number of a process that listens on the TCP port `port` of any address; None if it cannot be told."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    if not sockets:
        return None
    for process in proc.iterdir():
        if process.name.isdecimal():
            for descriptor in _entries(process / "fd"):
                if _link(descriptor) in sockets:
                    return int(process.name)
    return None


def _listening_inodes(port: int, proc: Path) -> set[str]:
    """Socket inodes in state LISTEN (0A) with that local port (proc_net_tcp: hexadecimal ADDRESS:PORT)."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
