"""Run the bridge behind a real NGINX, with a backend that a test controls byte by byte.

The NGINX and its Lua module come from a root directory: the jail of an image that was built already, or a Debian root
with the distribution's packages. NGINX is started in a chroot of it, with a configuration of its own that holds one TLS
listener on loopback and the bridge, and no authentication: what is tested here is what happens after a request was let
through. The root itself is left as it was but for one directory under ``/run``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port
from tests.proxy.backend import Backend

REPOSITORY = Path(__file__).resolve().parents[2]
LUA_SOURCE = REPOSITORY / "components" / "secure_proxy" / "lua" / "secure_proxy"
IMAGE_LUA = (
    "usr/share/lua/secure_proxy"  # an image's jail has the code that ships; another root gets the working tree's
)
NGINX = "usr/sbin/nginx"
START_SECONDS = 15.0
STOP_SECONDS = 15.0

DEFAULT_LIMITS: Mapping[str, object] = {"drain_timeout_ms": 2000, "control_frames_per_second": 0}


class HarnessError(RuntimeError):
    """NGINX could not be started or stopped; the message carries its own words."""


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def lua_literal(value: object) -> str:
    """A Lua expression for numbers, strings, booleans, lists and string-keyed mappings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() or c in "-_.:/* " else f"\\{ord(c):03d}" for c in value) + '"'
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{lua_literal(k)}]={lua_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "{" + ",".join(lua_literal(v) for v in value) + "}"
    raise TypeError(f"no Lua literal for {type(value).__name__}")


@dataclass
class ProxyOptions:
    """What a test may vary. Times are milliseconds, as the bridge takes them."""

    backend_host: str = "127.0.0.1"
    backend_port: int = 0
    connect_timeout_ms: int = 2000
    read_timeout_ms: int = 20000
    send_timeout_ms: int = 5000
    limits: Mapping[str, object] = field(default_factory=dict)
    lifetime_seconds: float | None = None
    worker_processes: int = 1
    worker_connections: int = 2048
    extra_http: str = ""  # configuration for the http block; @base@ is the directory of certificate.pem and key.pem
    extra_main: str = ""  # the same for the main block
    worker_lua: str = ""  # Lua code that each worker runs before it loads the bridge
    location: str | None = None  # what serves sessions, in place of the bridge
    error_log_level: str = "notice"


CONFIGURATION = """\
{modules}
daemon off;
user {user};
worker_processes {options.worker_processes};
worker_shutdown_timeout 60s;
pid {base}/nginx.pid;
error_log {base}/error.log {options.error_log_level};
{extra_main}
events {{ worker_connections {options.worker_connections}; }}
http {{
    access_log off;
    lua_package_path "{base}/lua/?.lua;/usr/share/lua/?.lua;/usr/share/lua/?/init.lua;;";
    lua_package_cpath "/usr/lib/lua/?.so;;";
    lua_socket_log_errors off;
    lua_socket_buffer_size 4k;
    client_body_temp_path {base}/body;
    proxy_temp_path {base}/proxy;
    {further_paths}
    lua_shared_dict closed 1m;
    init_worker_by_lua_block {{
        {options.worker_lua}
        require("secure_proxy.bridge").start_worker()
    }}
    ssl_certificate {base}/certificate.pem;
    ssl_certificate_key {base}/key.pem;
    {extra_http}
    server {{
        listen 127.0.0.1:{port} ssl;
        location = /closed {{
            content_by_lua_block {{
                local closed = ngx.shared.closed
                ngx.print(closed:lpop("sessions") or "")
            }}
        }}
        location / {{ {location} }}
    }}
}}
"""


# The distribution's NGINX makes these directories too; ours is built without what would use them.
FURTHER_PATHS = """\
    fastcgi_temp_path {base}/fastcgi;
    uwsgi_temp_path {base}/uwsgi;
    scgi_temp_path {base}/scgi;
"""

BRIDGE = """\
content_by_lua_block {{
    local lifetime = {lifetime}
    require("secure_proxy.bridge").run({{
        backend_host = {backend_host}, backend_port = {options.backend_port},
        connect_timeout_ms = {options.connect_timeout_ms},
        read_timeout_ms = {options.read_timeout_ms},
        send_timeout_ms = {options.send_timeout_ms},
        limits = {limits},
        expires_at = lifetime and ngx.now() + lifetime or nil,
        on_close = function(session)
            ngx.shared.closed:rpush("sessions", table.concat({{
                session.code, session.bytes_up, session.bytes_down, session.frames_up,
                session.frames_down, session.bytes_lost, session.duration, session.reason}}, "\\t"))
        end,
    }})
}}
"""


@dataclass(frozen=True)
class ClosedSession:
    """What the bridge reported of a session when it ended."""

    code: int
    bytes_up: int
    bytes_down: int
    frames_up: int
    frames_down: int
    bytes_lost: int
    duration: float
    reason: str


class Proxy:
    """A running NGINX with the bridge, and the backend behind it."""

    host = "127.0.0.1"

    def __init__(self, root: Path, options: ProxyOptions, backend: Backend) -> None:
        self.root = root
        self.options = options
        self.backend = backend
        self.wss_port = free_port()
        self._outside = Path(tempfile.mkdtemp(prefix="bridge-test-", dir=root / "run"))
        self._outside.chmod(0o755)
        self._inside = Path("/run") / self._outside.name
        self.ca_file = self._outside / "certificate.pem"
        self._process: subprocess.Popen[bytes] | None = None

    def token(self) -> str | None:
        """The bearer token that a client must present: none here."""
        return None

    def start(self) -> None:
        """Write the configuration and start NGINX; returns when it accepts connections."""
        if not (self.root / IMAGE_LUA).exists():
            shutil.copytree(LUA_SOURCE, self._outside / "lua" / "secure_proxy")
        make_certificate(self._outside)
        (self._outside / "nginx.conf").write_text(self._configuration())
        self._process = subprocess.Popen(
            ["chroot", self.root, f"/{NGINX}", "-c", self._inside / "nginx.conf"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self._outside / "stderr.log").open("wb"),
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if len(self.workers()) == self.options.worker_processes and self._answers():
                return
            time.sleep(0.02)
        words = (self._outside / "stderr.log").read_text() + self.log()
        self.stop()
        raise HarnessError(f"NGINX did not start on port {self.wss_port}:\n{words}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.wss_port), timeout=1):
                return True
        except OSError:
            return False

    def _configuration(self) -> str:
        modules = [
            f"load_module /usr/lib/nginx/modules/{name};"
            for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
            if (self.root / "usr/lib/nginx/modules" / name).exists()
        ]
        lifetime = self.options.lifetime_seconds
        bridge = BRIDGE.format(
            options=self.options,
            lifetime="nil" if lifetime is None else lua_literal(lifetime),
            backend_host=lua_literal(self.options.backend_host),
            limits=lua_literal({**DEFAULT_LIMITS, **self.options.limits}),
        )
        return CONFIGURATION.format(
            modules="\n".join(modules),
            user=worker_user(self.root),
            base=self._inside,
            further_paths=FURTHER_PATHS.format(base=self._inside) if modules else "",
            options=self.options,
            extra_main=self.options.extra_main.replace("@base@", str(self._inside)),
            extra_http=self.options.extra_http.replace("@base@", str(self._inside)),
            port=self.wss_port,
            location=self.options.location or bridge,
        )

    @property
    def master(self) -> int:
        """Process id of the master."""
        if self._process is None:
            raise HarnessError("NGINX is not running")
        return self._process.pid

    def workers(self) -> list[int]:
        """Process ids of all workers, those that are leaving included."""
        with suppress(OSError):
            children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()
            return [int(child) for child in children]
        return []

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal: HUP reloads, QUIT stops gracefully."""
        os.kill(self.master, number)

    def log(self) -> str:
        """The error log so far."""
        path = self._outside / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def errors(self) -> list[str]:
        """Lines of the error log from level `error` up: a session that went well leaves none."""
        levels = ("[error]", "[crit]", "[alert]", "[emerg]")
        return [line for line in self.log().splitlines() if any(level in line for level in levels)]

    def closed_session(self, within: float = 10.0) -> ClosedSession:
        """The oldest ended session that was not asked for yet; waits for it up to `within` seconds."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            record = self._get("/closed")
            if record:
                *counts, duration, reason = record.split("\t")
                code, up, down, frames_up, frames_down, lost = map(int, counts)
                return ClosedSession(code, up, down, frames_up, frames_down, lost, float(duration), reason)
            time.sleep(0.02)
        raise HarnessError(f"no session ended within {within} s")

    def _get(self, path: str) -> str:
        with self.connect() as client:
            client.sendall(f"GET {path} HTTP/1.0\r\nHost: {self.host}\r\n\r\n".encode())
            response = b""
            while chunk := client.recv(65536):
                response += chunk
        return response.partition(b"\r\n\r\n")[2].decode()

    def tls_context(self) -> ssl.SSLContext:
        """A client context that trusts this proxy's certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def connect(self, timeout: float = 10.0) -> ssl.SSLSocket:
        """A TLS connection to the WSS listener."""
        plain = socket.create_connection((self.host, self.wss_port), timeout=timeout)
        return self.tls_context().wrap_socket(plain, server_hostname=self.host)

    def stop(self) -> None:
        """Stop NGINX at once and remove its directory."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._outside, ignore_errors=True)

    def wait(self, seconds: float) -> int:
        """Wait for NGINX to end by itself; its exit code."""
        if self._process is None:
            raise HarnessError("NGINX is not running")
        return self._process.wait(seconds)


def worker_user(root: Path) -> str:
    """The account that the root's NGINX package or image made for the workers."""
    names = [line.partition(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    for candidate in ("nginx", "www-data"):
        if candidate in names:
            return candidate
    raise HarnessError(f"{root} has neither an nginx nor a www-data account")


def make_certificate(directory: Path) -> None:
    """Write a short-lived self-signed certificate for 127.0.0.1 to `directory`."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(directory / "key.pem"), "-out", str(directory / "certificate.pem"), "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )


@contextmanager
def running_proxy(root: Path, **options: object) -> Iterator[Proxy]:
    """A proxy with a backend of its own, stopped at the end. Keyword arguments are fields of ProxyOptions."""
    with Backend() as backend:
        settings = ProxyOptions(backend_port=backend.port)
        for name, value in options.items():
            if not hasattr(settings, name):
                raise TypeError(f"ProxyOptions has no field {name}")
            setattr(settings, name, value)
        proxy = Proxy(root, settings, backend)
        try:
            proxy.start()
            yield proxy
        finally:
            proxy.stop()
