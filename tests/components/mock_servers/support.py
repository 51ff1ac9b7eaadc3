"""What the tests of the mock servers share: where things are, processes on loopback, tokens made by hand."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

COMPONENT = Path(__file__).parents[3] / "components" / "mock_servers"
LIBEXEC = COMPONENT / "rootfs" / "common" / "usr" / "libexec" / "mock-servers"
ADDRESS = "127.0.0.1"
BACKEND_HOST = "mock-servers.test"
START_SECONDS = 15.0
# One client, because making one costs tens of milliseconds; no connection kept, because servers come and go on a port.
HTTP = httpx.Client(timeout=10, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((ADDRESS, port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"nothing listens on {port}; exit code {process.poll()}") from None
            time.sleep(0.02)
        else:
            return


@dataclass
class Server:
    """One of the servers as a process of its own, listening on loopback; ended when the block ends."""

    command: list[str]
    port: int
    environment: Mapping[str, str]
    log_file: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Server:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env={"PATH": os.environ["PATH"], "LISTEN_ADDRESS": ADDRESS, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for_port(self.port, self._process)
        except AssertionError as error:
            self._end()
            raise AssertionError(f"{error}: {self.log}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None

    @property
    def cpu_seconds(self) -> float:
        """What the process has used, user and system (proc(5), fields 14 and 15 of stat)."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return HTTP.get(f"{self.url}{path}", headers=headers)

    def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> httpx.Response:
        return HTTP.post(f"{self.url}{path}", data=dict(form), headers=headers)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encode_number(number: int) -> str:
    return encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def as_text(value: Mapping[str, Any] | str) -> str:
    """JSON of a mapping; text as it stands, so that a test can write what no JSON library would."""
    return value if isinstance(value, str) else json.dumps(value)


class SigningKey:
    """An RSA key that signs whatever it is given."""

    def __init__(self, kid: str, bits: int = 2048) -> None:
        self.kid = kid
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "kid": self.kid,
            "use": "sig",
            "alg": "RS256",
            "n": encode_number(numbers.n),
            "e": encode_number(numbers.e),
        }

    def signature(self, signed: str) -> str:
        return encode(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def token(self, claims: Mapping[str, Any] | str, header: Mapping[str, Any] | str | None = None) -> str:
        header = header if header is not None else {"alg": "RS256", "typ": "JWT", "kid": self.kid}
        signed = f"{encode(as_text(header).encode())}.{encode(as_text(claims).encode())}"
        return f"{signed}.{self.signature(signed)}"
