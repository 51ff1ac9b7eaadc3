"""What is measured: the bridge and what it is compared with, each a way from a TLS port to a plain TCP backend."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port
from tests.proxy.auth import proxy as products
from tests.proxy.auth import tokens
from tests.proxy.auth.issuer import Issuer
from tests.proxy.backend import Backend
from tests.proxy.nginx_harness import Proxy, ProxyOptions, make_certificate

START_SECONDS = 15.0
LARGEST_CONNECTIONS = 16384
TOKEN_SECONDS = 86_400
TICKS = os.sysconf("SC_CLK_TCK")

# TLS on one side, bytes on the other, nothing between: no bridge can do less.
_STREAM = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
stream {{
    server {{
        listen 127.0.0.1:{listen} ssl;
        ssl_certificate @base@/certificate.pem;
        ssl_certificate_key @base@/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        proxy_pass 127.0.0.1:{backend};
        tcp_nodelay on;
    }}
}}
"""


@dataclass(frozen=True)
class System:
    """A running system: where clients connect, whether they speak WebSocket, and the processes that do the work."""

    name: str
    port: int
    websocket: bool
    ca_file: Path
    processes: Callable[[], list[int]]
    token: str | None = None  # the bearer token that it wants

    def cpu_seconds(self) -> float:
        """CPU time that the processes have used so far, and those that they have started and outlived."""
        return sum(cpu_seconds(pid) for pid in self.processes())

    def private_bytes(self) -> int:
        """Memory that the processes have for themselves."""
        return sum(private_bytes(pid) for pid in self.processes())

    def context(self) -> ssl.SSLContext:
        """A client's TLS context."""
        return ssl.create_default_context(cafile=str(self.ca_file))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process (to the nanosecond) and its ended children (to the tick); 0 if it is gone."""
    try:
        running = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
    except OSError:
        return 0.0
    return running + sum(map(int, ended)) / TICKS


def private_bytes(pid: int) -> int:
    """Resident memory of a process that it shares with no other; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _nginx_options(backend_port: int) -> ProxyOptions:
    return ProxyOptions(
        backend_port=backend_port,
        read_timeout_ms=600_000,
        send_timeout_ms=600_000,
        worker_connections=LARGEST_CONNECTIONS,
    )


@contextmanager
def _started(root: Path, options: ProxyOptions) -> Iterator[Proxy]:
    with Backend() as unused:
        proxy = Proxy(root, options, unused)
        try:
            proxy.start()
            yield proxy
        finally:
            proxy.stop()


@contextmanager
def terminator_and_bridge(root: Path, backend_port: int) -> Iterator[tuple[System, System]]:
    """NGINX's stream module and the bridge, in one worker of one NGINX."""
    options = _nginx_options(backend_port)
    listen = free_port()
    options.extra_main = _STREAM.format(listen=listen, backend=backend_port)
    with _started(root, options) as proxy:
        yield (
            System("terminator", listen, False, proxy.ca_file, proxy.workers),
            System("bridge", proxy.wss_port, True, proxy.ca_file, proxy.workers),
        )


@contextmanager
def product(source_root: Path, backend_port: int) -> Iterator[System]:
    """The bridge as it ships, configured as at boot: tokens checked in the worker, limits, session registry, audit.

    It takes a source build's jail, whose NGINX verifies tokens itself.
    """
    with Issuer() as issuer, tempfile.TemporaryDirectory() as directory:
        situation = products.Situation(
            build="source",
            root=source_root,
            oauth_port=issuer.port,
            authentication={"provider": "openidc"},
            image={
                "PROXY_WORKER_PROCESSES": "1",
                "PROXY_WORKER_CONNECTIONS": str(LARGEST_CONNECTIONS),
                "WSS_BACKEND_PORT": str(backend_port),
                "READ_TIMEOUT": "600s",
                "SEND_TIMEOUT": "600s",
            },
        )
        token = tokens.token(issuer.key, tokens.claims(issuer.url, exp=int(time.time()) + TOKEN_SECONDS))
        with products.running(Path(directory), situation) as proxy:
            yield System("bridge", proxy.wss_port, True, proxy.ca_file, proxy.workers, token)


@contextmanager
def websockify_module(root: Path, backend_port: int) -> Iterator[System]:
    """websockify-nginx-module in the NGINX of a source build's jail."""
    options = _nginx_options(backend_port)
    options.location = f"websockify_pass 127.0.0.1:{backend_port};"
    with _started(root, options) as proxy:
        yield System("websockify module", proxy.wss_port, True, proxy.ca_file, proxy.workers)


@contextmanager
def websockify_package(program: Path, directory: Path, backend_port: int) -> Iterator[System]:
    """The websockify Python package, which makes a process for each session."""
    port = free_port()
    make_certificate(directory)
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = [str(program), "--ssl-only", f"--cert={certificate}", f"--key={key}"]
    with (directory / "websockify.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"127.0.0.1:{port}", f"127.0.0.1:{backend_port}"],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        _await_port(port)
        yield System("websockify package", port, True, certificate, lambda: _family(process.pid))
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it does not listen to less while it has children
        process.wait()


def websockify_program(cache: Path) -> Path:
    """The command of the websockify package, in a virtualenv of its own with numpy, which it unmasks with."""
    home = cache / "websockify-0.13.0"
    program = home / "bin" / "websockify"
    if not program.exists():
        print("installing websockify 0.13.0 (once) ...", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run(["python3", "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "-q", "websockify==0.13.0", "numpy"], check=True)
    return program


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in _family(int(child)))]


def _await_port(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {START_SECONDS} s")
