"""The whole proxy on loopback: the product's templates and Lua in a copy of a jail, configured by the program that does
it at boot, with free ports. What a test sees is what an instance does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.proxy.auth.audit_schema import faults
from tests.proxy.backend import Backend
from tests.proxy.nginx_harness import REPOSITORY, HarnessError

COMPONENT = REPOSITORY / "components" / "secure_proxy"
PROGRAM_DIRECTORY = COMPONENT / "rootfs/usr/libexec/secure-proxy"
CONFIGURATION = "etc/nginx"
LOGS = ("nginx-error.log", "http-error.log", "http-access.log", "audit.log")
# Tests and benchmarks come from one address, with one subject.
UNLIMITED = ("handshakesPerAddress", "tokenRequestsPerAddress", "connectionsPerAddress", "connectionsPerSubject")
START_SECONDS = 15.0


def make_jail(root: Path, directory: Path) -> Path:
    """A copy of the jail at `root` with this tree's templates and Lua; its logs are new and empty."""
    jail = directory / "jail"
    subprocess.run(["cp", "-a", "--reflink=auto", str(root), str(jail)], check=True)
    for path in (directory.parent, directory, jail):
        path.chmod(0o755)
    configuration = jail / CONFIGURATION
    for old in ("templates", "conf.d", "trust", "certs", "logs"):
        shutil.rmtree(configuration / old, ignore_errors=True)
    shutil.copytree(COMPONENT / "nginx", configuration / "templates")
    lua = jail / "usr/share/lua/secure_proxy"
    shutil.rmtree(lua)
    shutil.copytree(COMPONENT / "lua/secure_proxy", lua)
    worker = next(
        line.split(":") for line in (jail / "etc/passwd").read_text().splitlines() if line.startswith("nginx:")
    )
    (configuration / "certs").mkdir(mode=0o700)
    (configuration / "logs").mkdir(mode=0o755)
    for name in LOGS:
        log = configuration / "logs" / name
        log.touch(mode=0o660)
        shutil.chown(log, int(worker[2]), int(worker[3]))
    return jail


@dataclass
class Answer:
    """What the proxy said to an opening handshake; `socket` is the session when `status` is 101."""

    status: int
    headers: dict[str, str]
    body: bytes
    socket: ssl.SSLSocket


@dataclass
class Situation:
    """What a proxy is started with."""

    build: str  # source or distribution
    root: Path
    oauth_port: int
    authentication: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, str] = field(default_factory=dict)
    http_error_level: str = "notice"
    names: str = "127.0.0.1"  # the name server's address


class AuthProxy:
    """A running proxy with all its listeners, and the application behind it."""

    host = "127.0.0.1"

    def __init__(self, jail: Path, situation: Situation, backend: Backend) -> None:
        self.jail = jail
        self.situation = situation
        self.backend = backend
        self.wss_port, self.oauth_port, self.health_port = free_port(), free_port(), free_port()
        self.configuration = jail / CONFIGURATION
        self.ca_file = self.configuration / "certs/servercert.pem"
        self.awaits_records = True  # after each refused request, so that a test finds its record
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self) -> None:
        """Write the configuration as the boot program does."""
        with program_on_path():
            environment = import_module("proxy_configuration.environment")
            rendering = import_module("proxy_configuration.rendering")
            values = self.values()
            environment.validate(values)
            rendering.configure(values, names=self.situation.names, install=True)
        logging = self.configuration / "conf.d/logging.conf"
        level = self.situation.http_error_level
        logging.write_text(logging.read_text().replace("http-error.log notice;", f"http-error.log {level};"))

    def values(self) -> dict[str, str]:
        policy = {
            "authentication": dict(self.situation.authentication),
            "limits": dict.fromkeys(UNLIMITED, 0),
        }
        for name, section in self.situation.sections.items():
            policy[name] = {**policy.get(name, {}), **section}
        return {
            "NGINX_BUILD": self.situation.build,
            "JAIL_BASE_DIR": str(self.jail),
            "PROXY_BASE_DIR": "/" + CONFIGURATION,
            "PROXY_WORKER_PROCESSES": "2",
            "PROXY_WORKER_CONNECTIONS": "4096",
            "KEEPALIVE_TIMEOUT": "120",
            "WSS_PROXY_BIND_PORT": str(self.wss_port),
            "OAUTH_PROXY_BIND_PORT": str(self.oauth_port),
            "HEALTH_PORT": str(self.health_port),
            "WSS_BACKEND_PORT": str(self.backend.port),
            "OAUTH_BACKEND_PORT": str(self.situation.oauth_port),
            "CONNECT_TIMEOUT": "2s",
            "READ_TIMEOUT": "20s",
            "SEND_TIMEOUT": "5s",
            "BRIDGE": "lua",
            "BACKEND_HOST": "127.0.0.1",
            "CERTIFICATE_NAMES": "127.0.0.1",
            "POLICY": json.dumps(policy),
            **self.situation.image,
        }

    def start(self, *, ready: bool = True) -> None:
        """Start NGINX; returns when it is ready for sessions, or only listening when `ready` is False."""
        self.configure()
        self._process = subprocess.Popen(
            ["chroot", str(self.jail), "/usr/sbin/nginx", "-c", f"/{CONFIGURATION}/nginx.conf", "-g", "daemon off;"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.jail.parent / "stderr.log").open("wb"),
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError):
                if self.health("/readyz" if ready else "/healthz")[0] == 200:
                    return
            time.sleep(0.05)
        words = (self.jail.parent / "stderr.log").read_text() + self.log("nginx-error.log") + self.log("http-error.log")
        self.stop()
        raise HarnessError(f"the proxy did not become ready:\n{words}")

    def reload(self, **authentication: Any) -> None:
        """Change the policy and reload; returns when new workers serve."""
        self.situation.authentication = {**self.situation.authentication, **authentication}
        self.configure()
        self.renew_workers()

    def renew_workers(self) -> None:
        """Have the master read its configuration again; returns when new workers serve, and they alone."""
        before = set(self.workers())
        self.signal(signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while not self._serves(before):
            if time.monotonic() > deadline:
                raise HarnessError("the reload did not happen:\n" + self.log("nginx-error.log"))
            time.sleep(0.05)

    def _serves(self, former: set[int]) -> bool:
        fresh = set(self.workers())
        return len(fresh) == len(former) and fresh.isdisjoint(former) and self.health("/readyz")[0] == 200

    def workers(self) -> list[int]:
        """Process ids of the workers that take connections: one that is leaving (its title says so) is none of them."""
        assert self._process is not None
        master = self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [int(pid) for pid in children if self._takes_connections(Path(f"/proc/{pid}/cmdline"))]

    @staticmethod
    def _takes_connections(title: Path) -> bool:
        """A process that has ended has an empty title, or none."""
        try:
            words = title.read_bytes()
        except OSError:
            return False
        return words != b"" and b"shutting down" not in words

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def replace_worker(self, worker: int) -> None:
        """Kill a worker; returns when the master has started another one."""
        before = set(self.workers())
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while not (set(self.workers()) - before) or worker in self.workers():
            if time.monotonic() > deadline:
                raise HarnessError(f"worker {worker} was not replaced:\n" + self.log("nginx-error.log"))
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop NGINX at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def log(self, name: str) -> str:
        return (self.configuration / "logs" / name).read_text(errors="replace")

    def audit(self) -> list[dict[str, Any]]:
        """All audit records so far. One that is being written is not there yet: it may be seen in part."""
        path = self.configuration / "logs/audit.log"
        text = path.read_text() if path.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def audited(self, event: str, within: float = 5.0, after: int = 0) -> dict[str, Any]:
        """The first record of that event behind the first `after` records; waits for it."""
        deadline = time.monotonic() + within
        while True:
            found = [record for record in self.audit()[after:] if record["event"] == event]
            if found:
                return found[0]
            if time.monotonic() > deadline:
                raise AssertionError(f"no {event!r} in {self.audit()[after:]}\n{self.log('http-error.log')[-2000:]}")
            time.sleep(0.02)

    def health(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Ask the health listener."""
        with socket.create_connection((self.host, self.health_port), timeout=15) as client:
            fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            head = f"{method} {path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
            client.sendall(head.encode() + body)
            status, _, content = split(read_all(client))
            return status, content

    def context(self) -> ssl.SSLContext:
        """A client context that trusts this proxy's certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def connect(self, port: int, context: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, port), timeout=15, source_address=(source, 0))
        return (context or self.context()).wrap_socket(plain, server_hostname=self.host)

    def request(
        self, method: str, path: str, fields: list[tuple[str, str]], *, port: int | None = None, body: bytes = b"",
        context: ssl.SSLContext | None = None, source: str = "127.0.0.1",
    ) -> Answer:  # fmt: skip
        """A request on the WSS listener (or another port) that ends with its answer."""
        with self.connect(port or self.wss_port, context, source) as client:
            lines = [f"{method} {path} HTTP/1.1", "Host: proxy.test", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in fields]
            if body:
                lines.append(f"Content-Length: {len(body)}")
            send_all(client, "\r\n".join([*lines, "", ""]).encode() + body)
            answer = Answer(*split(read_all(client)), client)
            self._await_record(answer)
            return answer

    def open(
        self, token: str | None = None, *, path: str = "/", fields: list[tuple[str, str]] | None = None,
        protocols: str = "binary", context: ssl.SSLContext | None = None, source: str = "127.0.0.1",
    ) -> Answer:  # fmt: skip
        """An opening handshake. The caller closes the socket when a session came of it."""
        client = self.connect(self.wss_port, context, source)
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: proxy.test",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {protocols}",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        lines += [f"{name}: {value}" for name, value in fields or []]
        send_all(client, "\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = client.recv(4096)
            if not chunk:
                break
            head += chunk
        answer = Answer(*split(head), client)
        self._await_record(answer)
        if answer.status != 101:
            client.close()
        return answer

    def _await_record(self, answer: Answer) -> None:
        """Give the proxy the moment that it takes after the answer to a refused request to write its audit record."""
        # Not every 429 has one.
        if not self.awaits_records or answer.status < 400 or answer.status == 429:
            return
        port = answer.socket.getsockname()[1]
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if any(record["client_port"] == port for record in self.audit()[-20:]):
                return
            time.sleep(0.01)


def send_all(client: ssl.SSLSocket, data: bytes) -> None:
    """Send; a server that has heard enough may have answered and closed already."""
    with suppress(OSError):
        client.sendall(data)


def read_all(client: socket.socket) -> bytes:
    data = b""
    with suppress(OSError):
        while chunk := client.recv(65536):
            data += chunk
    return data


def split(response: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower-case names) and body of an HTTP response; status 0 when there is none."""
    head, _, body = response.partition(b"\r\n\r\n")
    status_line, *fields = head.decode("latin-1").split("\r\n")
    words = status_line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
    return (int(words[1]) if len(words) > 1 else 0), headers, body


@contextmanager
def program_on_path() -> Iterator[None]:
    """Make the boot program's package importable, without byte code in the image's own tree."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(PROGRAM_DIRECTORY))
    try:
        yield
    finally:
        sys.path.remove(str(PROGRAM_DIRECTORY))
        sys.dont_write_bytecode = before


@contextmanager
def running(directory: Path, situation: Situation, *, ready: bool = True) -> Iterator[AuthProxy]:
    """A proxy with an echoing application of its own, stopped at the end."""
    with Backend() as backend:
        proxy = AuthProxy(make_jail(situation.root, directory), situation, backend)
        try:
            proxy.start(ready=ready)
            yield proxy
            assert faults(proxy.audit()) == [], "audit records are not as documented"
        finally:
            proxy.stop()
            shutil.rmtree(proxy.jail, ignore_errors=True)
