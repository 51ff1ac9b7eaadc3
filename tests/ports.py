"""Ports for servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import suppress

# Below those that the kernel gives to connections (net.ipv4.ip_local_port_range begins at 32768): none takes one
# meanwhile. Each process begins elsewhere and goes round, so that no port comes back while something may linger on it.
_RANGE = range(20000, 32000)
_next = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """A TCP port that nothing listens on at the moment, on any address of this host."""
    while True:
        port = _RANGE[next(_next) % len(_RANGE)]
        with suppress(OSError), socket.create_server(("", port), reuse_port=False):
            return port
