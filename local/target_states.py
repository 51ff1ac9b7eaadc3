"""The states of its targets that HAProxy starts with, in the format of its command "show servers state", version 1.

HAProxy (management guide, section 9.3) takes a server that it has not checked yet for up, and sends it connections. So
whoever starts or reloads it says of every server what it is: those that ran before are what they were, new ones are
down until they pass a check.
"""

from __future__ import annotations

from collections.abc import Sequence

# Backend, name, address and port of a server.
Server = tuple[str, str, str, int]

# From srv_op_state to srv_check_state: stopped, administratively nothing, weights, not asked yet, checks enabled.
_DOWN = ("0", "0", "1", "1", "0", "1", "0", "0", "6")
_STATE = slice(5, 5 + len(_DOWN))
_PORT = 18


def initial_states(servers: Sequence[Server], former: str) -> str:
    """The file for `servers`; `former` is what the process before says of its own, empty if there was none."""
    rows = [line.split() for line in former.splitlines()[2:]]
    known = {(row[1], row[3], row[4], int(row[_PORT])): row[_STATE] for row in rows if len(row) > _PORT}
    lines = ["1"]
    for server in servers:
        backend, name, address, port = server
        state = known.get(server, _DOWN)
        lines.append(" ".join(["0", backend, "0", name, address, *state, *f"0 0 0 - {port} - 0 0 - - 0".split()]))
    return "\n".join(lines) + "\n"
