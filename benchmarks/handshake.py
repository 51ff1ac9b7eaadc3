"""What the token check costs: requests that one NGINX worker can answer with it, relative to the same location without.

    .venv/bin/python -m benchmarks.handshake --root /path/to/jail [--requests 20000] [--rounds 5] [--json FILE]

The proxy is the product's own, configured as at boot, with one worker and three more locations on its WSS listener that
answer two bytes: one as it is, one behind the token check, one behind the whole admission (limits, audit, token). The
same tokens come again and again, as clients' do, so the caches are warm. What is compared is the worker's CPU time per
request, which, unlike a rate seen by a client, does not depend on how fast the client is; rounds are interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from tests.proxy.auth import proxy as proxies
from tests.proxy.auth import tokens
from tests.proxy.auth.issuer import Issuer
from tests.proxy.auth.proxy import AuthProxy, Situation, running
from tests.proxy.nginx_harness import HarnessError

BATCH = 50
CONNECTION_REQUESTS = 1000  # NGINX ends a connection after this many
SUBJECTS = 100
ANSWER = b"\r\n2\r\nok\r\n0\r\n\r\n"  # chunked
LOCATIONS = """
    location = /benchmark/without {
        content_by_lua_block { ngx.print("ok") }
    }
    location = /benchmark/token {
        access_by_lua_block {
            local config = require("secure_proxy.config")
            local sources = config.authentication.token_sources
            if not require("secure_proxy.auth").authenticate(sources) then
                return ngx.exit(403)
            end
        }
        content_by_lua_block { ngx.print("ok") }
    }
    location = /benchmark/admission {
        access_by_lua_block { require("secure_proxy.access").admit_session() }
        content_by_lua_block { ngx.print("ok") }
    }

    location / {
"""
NAMES = ("without", "token", "admission")
# Every request of the listener begins so; here, only those that the whole admission is measured with.
BEGINNING = 'require("secure_proxy.access").begin()'
BEGINNING_OF_ADMISSION = f'if ngx.var.uri == "/benchmark/admission" then {BEGINNING} end'


def request(name: str, bearer: str) -> bytes:
    return f"GET /benchmark/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n\r\n".encode()


class MeasuredProxy(AuthProxy):
    """The proxy with the locations to measure."""

    def configure(self) -> None:
        super().configure()
        listener = self.configuration / "conf.d/wss.conf"
        listener.write_text(listener.read_text().replace("    location / {\n", LOCATIONS, 1))
        requests = self.configuration / "conf.d/requests.conf"
        requests.write_text(requests.read_text().replace(BEGINNING, BEGINNING_OF_ADMISSION, 1))

    def worker_seconds(self) -> float:
        """CPU time of the worker so far."""
        (worker,) = self.workers()
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def answer_many(self, name: str, requests: int, bearers: list[str]) -> float:
        """Have `requests` answered; the worker's CPU seconds that it took."""
        before = self.worker_seconds()
        for _ in range(requests // CONNECTION_REQUESTS):
            with self.connect(self.wss_port) as client:
                for start in range(0, CONNECTION_REQUESTS, BATCH):
                    chosen = (bearers[(start + offset) % len(bearers)] for offset in range(BATCH))
                    client.sendall(b"".join(request(name, bearer) for bearer in chosen))
                    received = b""
                    while received.count(ANSWER) < BATCH:
                        chunk = client.recv(65536)
                        if not chunk:
                            raise HarnessError(f"/benchmark/{name} was refused: {received[-500:]!r}")
                        received += chunk
        return self.worker_seconds() - before


def measure(root: Path, requests: int, rounds: int) -> dict[str, object]:
    """CPU microseconds a request by location, and each round's ratio to the location without a check.

    `root` is the jail of a source build: only there the worker verifies tokens by itself.
    """
    proxies.AuthProxy = MeasuredProxy  # type: ignore[misc]
    with Issuer() as issuer, tempfile.TemporaryDirectory() as directory:
        situation = Situation(
            build="source",
            root=root,
            oauth_port=issuer.port,
            authentication={"provider": "openidc"},
            sections={"limits": {"handshakesPerAddress": 10_000_000}},
            image={"PROXY_WORKER_PROCESSES": "1"},
        )
        bearers = [
            tokens.token(issuer.key, tokens.claims(issuer.url, sub=f"subject-{number}", exp=4_000_000_000))
            for number in range(SUBJECTS)
        ]
        with running(Path(directory), situation) as proxy:
            if not isinstance(proxy, MeasuredProxy):
                raise HarnessError("the harness made a proxy of another kind")
            for name in NAMES:
                proxy.answer_many(name, 2000, bearers)
            costs: dict[str, list[float]] = {name: [] for name in NAMES}
            for _ in range(rounds):
                for name in NAMES:
                    costs[name].append(proxy.answer_many(name, requests, bearers) / requests * 1e6)
    ratios = {
        name: [without / cost for without, cost in zip(costs["without"], costs[name], strict=True)] for name in NAMES
    }
    return {
        "requests": requests,
        "cpu_microseconds": {name: statistics.median(values) for name, values in costs.items()},
        "ratio": {
            name: {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
            for name, values in ratios.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="the jail of an image of the source build")
    parser.add_argument("--requests", type=int, default=20_000, help="a round and location")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    figures = measure(arguments.root, arguments.requests, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
