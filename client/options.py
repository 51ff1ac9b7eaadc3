"""The command line: parsing, and validation of every value before anything touches the network."""

from __future__ import annotations

import argparse
import ipaddress
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

MAX_EXCHANGE_BYTES = 256 * 1024 * 1024
"""The most that `e2e` sends: lines times bytes a line. The expected bytes are kept in memory to compare with."""

_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True)
class Target:
    """The proxy under test and how its certificate is judged."""

    host: str
    wss_port: int
    oauth_port: int
    server_name: str | None
    ca_file: Path | None
    insecure: bool

    @property
    def url_host(self) -> str:
        """The host as it stands in a URL: IPv6 addresses in brackets (RFC 3986, section 3.2.2)."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def wss_url(self) -> str:
        """URL of the WSS listener."""
        return f"wss://{self.url_host}:{self.wss_port}/"

    def oauth_url(self, path: str) -> str:
        """URL of `path` (with its leading slash) on the OAuth listener."""
        return f"https://{self.url_host}:{self.oauth_port}{path}"


@dataclass(frozen=True)
class Credentials:
    """What `/token` is asked with. The demo's OAuth server accepts any."""

    client_id: str = "secure-proxy-demo"
    client_secret: str = field(default="demo-secret", repr=False)
    code: str = field(default="demo-code", repr=False)


@dataclass(frozen=True)
class Options:
    """A validated command line. `timeout` and `linger` are in seconds."""

    command: str
    target: Target
    credentials: Credentials
    issuer: str | None
    timeout: float
    json: bool
    lines: int
    line_bytes: int
    allow_missing_close: bool
    linger: float
    token_file: Path | None


def _host(text: str) -> str:
    """A DNS name or an IP address, IPv6 with or without brackets; never a URL."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        pass
    else:
        if getattr(address, "scope_id", None):
            raise argparse.ArgumentTypeError(
                f"{text!r}: an IPv6 zone cannot stand in a URL; use a name or a global address"
            )
        return str(address)
    try:
        name = bare.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    labels = name.removesuffix(".").split(".")
    if bare != text or len(name) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a host name or IP address (no scheme, port or path; ports have options of their own)"
        )
    return name


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # A day is longer than any run; far beyond it the event loop's clock arithmetic would overflow.
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to 86400")
    return value


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_EXCHANGE_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_EXCHANGE_BYTES}")
    return int(text)


def _issuer(text: str) -> str:
    """OpenID Connect Core, section 2: a URL with scheme and host, without query and fragment."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and not url.query and not url.fragment
    except ValueError:
        valid = False
    if not valid:
        raise argparse.ArgumentTypeError(f"{text!r} is not an issuer: an http(s) URL without query and fragment")
    return text


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError("must be non-empty printable text")
    return text


def _common_options() -> argparse.ArgumentParser:
    defaults = Credentials()
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    proxy = common.add_argument_group("proxy")
    proxy.add_argument("--host", type=_host, required=True, help="name or address of the proxy (IPv6 too)")
    proxy.add_argument("--wss-port", type=_port, default=10000, metavar="PORT", help="WSS listener (default 10000)")
    proxy.add_argument("--oauth-port", type=_port, default=11080, metavar="PORT", help="OAuth listener (default 11080)")
    proxy.add_argument(
        "--timeout",
        type=_seconds,
        default=15.0,
        metavar="SECONDS",
        help="for each step: a request, a handshake, the exchange of all lines, a close (default 15)",
    )

    tls = common.add_argument_group("TLS (verified against the system's CAs unless told otherwise)")
    trust = tls.add_mutually_exclusive_group()
    trust.add_argument(
        "--ca-file", type=Path, metavar="PEM", help="trust these CA certificates instead of the system's"
    )
    trust.add_argument(
        "--insecure", action="store_true", help="do not verify the certificate; for throw-away tests only"
    )
    tls.add_argument(
        "--server-name", type=_host, metavar="NAME", help="name in SNI and certificate, if it is not --host"
    )

    oauth = common.add_argument_group("OpenID Connect")
    oauth.add_argument(
        "--issuer",
        type=_issuer,
        metavar="URL",
        help="the expected issuer, exactly; without it the issuer's last path segment must be awsexample",
    )
    oauth.add_argument("--client-id", type=_text, default=defaults.client_id, metavar="ID")
    oauth.add_argument("--client-secret", type=_text, default=defaults.client_secret, metavar="SECRET")
    oauth.add_argument("--code", type=_text, default=defaults.code, help="authorization code (the demo accepts any)")

    common.add_argument("--json", action="store_true", help="report as JSON (schema: client/report.schema.json)")
    return common


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m client",
        description="Verifies a deployed Secure Proxy from outside.",
        epilog="Exit code: 0 every expectation holds, 1 one does not, 2 wrong usage, 130 interrupted.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common_options()

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=summary, description=summary, allow_abbrev=False)

    e2e = add("e2e", "Run the four scenarios: configuration, token, echo over wss, refusal of invalid tokens.")
    e2e.add_argument("--lines", type=_count, default=100, metavar="N", help="lines sent in scenario 3 (default 100)")
    e2e.add_argument(
        "--line-bytes", type=_count, default=64, metavar="N", help="bytes a line, its \\n included (default 64)"
    )
    e2e.add_argument(
        "--allow-missing-close",
        action="store_true",
        help="accept a connection that ends without an answer to the close frame: the websockify bridge sends none",
    )

    add("configuration", "Fetch the OAuth configuration through the proxy, check it, print it.")
    add("token", "Obtain a token through the proxy and print it alone on stdout.")

    send = add("send", "Send stdin through a wss session and print what comes back.")
    send.add_argument("--token-file", type=Path, metavar="FILE", help="use the token in FILE instead of asking /token")
    send.add_argument(
        "--linger",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="after the end of stdin, close once nothing came back for so long (default 1)",
    )
    return parser


def parse(argv: Sequence[str] | None) -> tuple[Options, Callable[[str], NoReturn]]:
    """Parses a command line (default: `sys.argv`).

    Returns the options and a function that reports a usage error found later. That function, and this one, end with
    SystemExit: 2 for wrong usage, 0 for `--help`.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    lines: int = getattr(given, "lines", 1)
    line_bytes: int = getattr(given, "line_bytes", 1)
    if lines * line_bytes > MAX_EXCHANGE_BYTES:
        parser.error(f"--lines times --line-bytes is {lines * line_bytes}; at most {MAX_EXCHANGE_BYTES} bytes are sent")
    options = Options(
        command=given.command,
        target=Target(
            host=given.host,
            wss_port=given.wss_port,
            oauth_port=given.oauth_port,
            server_name=given.server_name,
            ca_file=given.ca_file,
            insecure=given.insecure,
        ),
        credentials=Credentials(given.client_id, given.client_secret, given.code),
        issuer=given.issuer,
        timeout=given.timeout,
        json=given.json,
        lines=lines,
        line_bytes=line_bytes,
        allow_missing_close=getattr(given, "allow_missing_close", False),
        linger=getattr(given, "linger", 1.0),
        token_file=getattr(given, "token_file", None),
    )
    return options, parser.error
