"""The instance metadata service, version 2, for one machine; runs inside that machine's network namespace alone.

Follows the EC2 user guide, "Use the Instance Metadata Service": a session token by PUT /latest/api/token with
`X-aws-ec2-metadata-token-ttl-seconds` (1 to 21600), required on every GET; 401 without a valid one, 403 for a
forwarded request, 404 for what is not there (user data that was not given too). Version 1 is not served. Minimal:
user data and the few metadata that the project's images ask for.

Run as `python -m local.imds FILE`, FILE being the JSON that `Metadata.to_json` writes.
"""

from __future__ import annotations

import json
import secrets
import socketserver
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

ADDRESS = IPv4Address("169.254.169.254")
PORT = 80

_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105  (a header's name)
_LONGEST = 21600  # seconds


@dataclass(frozen=True)
class Metadata:
    """What the service tells. `user_data` is None where none was given."""

    instance_id: str
    image_id: str
    local_ipv4: str
    region: str = "local"
    availability_zone: str = "local-a"
    instance_type: str = "local.nspawn"
    user_data: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def paths(self) -> dict[str, str]:
        """All documents by their path below `/latest/`."""
        values = {
            "ami-id": self.image_id,
            "instance-id": self.instance_id,
            "instance-type": self.instance_type,
            "local-hostname": f"ip-{self.local_ipv4.replace('.', '-')}",
            "local-ipv4": self.local_ipv4,
            "placement/availability-zone": self.availability_zone,
            "placement/region": self.region,
        }
        documents = {f"meta-data/{name}": value for name, value in values.items()}
        documents["meta-data/"] = "\n".join(sorted({name.split("/")[0] + "/" * ("/" in name) for name in values}))
        documents["meta-data/placement/"] = "availability-zone\nregion"
        if self.user_data is not None:
            documents["user-data"] = self.user_data
        return documents


class Tokens:
    """The session tokens that were given out, until their time is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def issue(self, seconds: int) -> str:
        now = self._clock()
        self._ends = {token: end for token, end in self._ends.items() if end > now}
        token = secrets.token_urlsafe(42)
        self._ends[token] = now + seconds
        return token

    def valid(self, token: str) -> bool:
        return self._ends.get(token, 0.0) > self._clock()


def handler(metadata: Metadata, tokens: Tokens) -> type[BaseHTTPRequestHandler]:
    """The request handler that serves `metadata`."""
    documents = metadata.paths()

    class Handler(BaseHTTPRequestHandler):
        server_version = "EC2ws"
        sys_version = ""
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 65536))
            if self.path != "/latest/api/token":
                self._answer(HTTPStatus.NOT_FOUND)
                return
            if "X-Forwarded-For" in self.headers:
                self._answer(HTTPStatus.FORBIDDEN)
                return
            text = self.headers.get(_TTL_HEADER, "")
            if not text.isdecimal() or not 1 <= int(text) <= _LONGEST:
                self._answer(HTTPStatus.BAD_REQUEST)
                return
            self._answer(HTTPStatus.OK, tokens.issue(int(text)), {_TTL_HEADER: text})

        def do_GET(self) -> None:
            if not tokens.valid(self.headers.get(_TOKEN_HEADER, "")):
                self._answer(HTTPStatus.UNAUTHORIZED)
                return
            path = self.path.removeprefix("/latest/")
            found = documents.get(path) or documents.get(path + "/")
            if found is None:
                self._answer(HTTPStatus.NOT_FOUND)
            else:
                self._answer(HTTPStatus.OK, found)

        def _answer(self, status: HTTPStatus, text: str = "", headers: dict[str, str] | None = None) -> None:
            body = text.encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "text/plain",
                "Content-Length": str(len(body)),
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """One line a request: never its headers, which hold the token."""
            sys.stderr.write(f"{self.log_date_time_string()} {format % args}\n")

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the address's name: no name server answers for minutes to come."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


def serve(metadata: Metadata, address: IPv4Address = ADDRESS, port: int = PORT) -> ThreadingHTTPServer:
    """A server bound to `address`; the caller runs it."""
    return _Server((str(address), port), handler(metadata, Tokens()))


if __name__ == "__main__":
    serve(Metadata(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))).serve_forever()
