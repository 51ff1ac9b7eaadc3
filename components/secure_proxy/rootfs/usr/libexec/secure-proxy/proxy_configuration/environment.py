"""Variables: where they come from and what each may be."""

from __future__ import annotations

import ipaddress
import re
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy_configuration.errors import ConfigurationError
from proxy_configuration.values import is_duration, is_host

IMAGE_ENVIRONMENT = Path("/etc/secure-proxy/image.env")
INSTANCE_ENVIRONMENT = Path("/etc/secure-proxy/instance.env")
RESOLV_CONF = Path("/etc/resolv.conf")
IMDS = "http://169.254.169.254"
IMDS_PATIENCE_SECONDS = 60
INSTANCE_VARIABLES = ("BACKEND_HOST", "CERTIFICATE_NAMES", "POLICY")


def parse_environment(text: str, source: str) -> dict[str, str]:
    """Read `KEY=VALUE` lines (shell quoting, `#` comments); an unreadable line or a key given twice is an error."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, separator, raw = stripped.partition("=")
        try:
            words = shlex.split(raw)
        except ValueError as error:
            raise ConfigurationError(f"{source} line {number}: {error}") from None
        if not separator or not re.fullmatch(r"[A-Z][A-Z0-9_]*", key) or len(words) > 1:
            raise ConfigurationError(f"{source} line {number}: expected KEY=VALUE with an upper-case key")
        if key in values:
            raise ConfigurationError(f"{source} line {number}: {key} is given twice")
        values[key] = words[0] if words else ""
    return values


def fetch_user_data() -> str:
    """The instance's user data by IMDSv2; waits for the service while the network comes up.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
    """
    deadline = time.monotonic() + IMDS_PATIENCE_SECONDS
    while True:
        try:
            token = _ask_imds("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
            return _ask_imds("GET", "user-data", {"X-aws-ec2-metadata-token": token})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise ConfigurationError(
                    "this instance was launched without user data; expected an env file with "
                    + ", ".join(INSTANCE_VARIABLES)
                ) from None
            reason = f"HTTP status {error.code}"
        except (OSError, UnicodeDecodeError) as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise ConfigurationError(f"instance metadata service {IMDS} does not answer: {reason}")
        time.sleep(0.5)


def _ask_imds(method: str, path: str, headers: Mapping[str, str]) -> str:
    # A proxy from the environment must never see the request.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{IMDS}/latest/{path}", method=method, headers=dict(headers))  # noqa: S310
    with opener.open(request, timeout=5) as response:
        content: bytes = response.read(65536)
    return content.decode("utf-8")


def is_port(value: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", value) is not None and 1 <= int(value) <= 65535


def is_count(value: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,8}", value) is not None


def one_of(*allowed: str) -> Callable[[str], bool]:
    return lambda value: value in allowed


def is_directory_name(value: str) -> bool:
    return re.fullmatch(r"(/[A-Za-z0-9._-]+)+", value) is not None and ".." not in value.split("/")


RULES: dict[str, tuple[Callable[[str], bool], str]] = {
    "NGINX_BUILD": (one_of("source", "distribution"), "source or distribution"),
    "JAIL_BASE_DIR": (is_directory_name, "an absolute directory of letters, digits, '.', '_' and '-'"),
    "PROXY_BASE_DIR": (is_directory_name, "an absolute directory of letters, digits, '.', '_' and '-'"),
    "PROXY_WORKER_PROCESSES": (lambda v: v == "auto" or is_count(v), "auto or a positive number"),
    "PROXY_WORKER_CONNECTIONS": (is_count, "a positive number"),
    "KEEPALIVE_TIMEOUT": (is_count, "a number of seconds"),
    "WSS_PROXY_BIND_PORT": (is_port, "a port, 1 to 65535"),
    "OAUTH_PROXY_BIND_PORT": (is_port, "a port, 1 to 65535"),
    "HEALTH_PORT": (is_port, "a port, 1 to 65535"),
    "WSS_BACKEND_PORT": (is_port, "a port, 1 to 65535"),
    "OAUTH_BACKEND_PORT": (is_port, "a port, 1 to 65535"),
    "CONNECT_TIMEOUT": (is_duration, "a duration such as 30s"),
    "READ_TIMEOUT": (is_duration, "a duration such as 60s"),
    "SEND_TIMEOUT": (is_duration, "a duration such as 60s"),
    "BRIDGE": (one_of("lua", "websockify"), "lua or websockify"),
    "BACKEND_HOST": (is_host, "a DNS name or an IPv4 address"),
    "CERTIFICATE_NAMES": (lambda v: all(is_host(n) for n in v.split(",")), "DNS names or IPv4 addresses, by commas"),
}


def validate(values: Mapping[str, str]) -> None:
    """Every variable is there and has a value that its rule allows."""
    for name, (is_allowed, allowed) in RULES.items():
        if name not in values:
            raise ConfigurationError(f"{name} is missing; allowed: {allowed}")
        if not is_allowed(values[name]):
            raise ConfigurationError(f"{name}={values[name]!r} is not allowed; allowed: {allowed}")


def instance_settings(environment: Path | None) -> dict[str, str]:
    """The instance's variables: from the file, else from user data, which is kept in instance.env for the operator."""
    if environment:
        text, source = environment.read_text(encoding="utf-8"), str(environment)
    else:
        text, source = fetch_user_data(), "user data"
    values = parse_environment(text, source)
    unknown = sorted(set(values) - set(INSTANCE_VARIABLES))
    if unknown:
        raise ConfigurationError(f"{source}: unknown {', '.join(unknown)}; allowed: {', '.join(INSTANCE_VARIABLES)}")
    missing = [name for name in INSTANCE_VARIABLES if name not in values]
    if missing:
        raise ConfigurationError(f"{source}: {', '.join(missing)} missing")
    # Names of load balancers may hold capitals; servers compare and repeat them in lower case (RFC 4343).
    values["BACKEND_HOST"] = values["BACKEND_HOST"].lower()
    if not environment:
        fresh = INSTANCE_ENVIRONMENT.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o600)
        fresh.replace(INSTANCE_ENVIRONMENT)
    return values


def resolvers(resolv_conf: Path) -> str:
    """The machine's name servers as NGINX's `resolver` wants them."""
    found = []
    for line in resolv_conf.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1].split("%")[0])
            except ValueError:
                raise ConfigurationError(f"{resolv_conf}: {words[1]!r} is not an address") from None
            found.append(f"[{address}]" if address.version == 6 else str(address))
    if not found:
        raise ConfigurationError(f"{resolv_conf} names no name server; NGINX could not resolve BACKEND_HOST")
    return " ".join(found)
