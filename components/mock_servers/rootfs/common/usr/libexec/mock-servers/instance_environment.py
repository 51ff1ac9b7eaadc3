"""Writes what this instance was told at boot to /etc/secure-proxy/instance.env, which the mock servers' units read.

The one variable is BACKEND_HOST: the name under which clients reach these servers. It comes as an env file in the
EC2 user data, asked for by IMDSv2. A machine without user data, such as the one that tests a new image, is given the
same file as /run/secure-proxy/user-data. Anything missing, unknown or malformed is an error, and then there is no
instance.env and the servers that need it do not start. Standard library alone, Python 3.9 or newer.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import shlex
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

METADATA_URL = "http://169.254.169.254"
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
REQUEST_SECONDS = 5
# EC2 allows user data of 16 KB.
MAX_BYTES = 16 * 1024
GIVEN_FILE = Path("/run/secure-proxy/user-data")
OUTPUT = Path("/etc/secure-proxy/instance.env")
VARIABLES = ("BACKEND_HOST",)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class InstanceError(Exception):
    """The instance's values cannot be had; the message says which and what to do."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="instance_environment", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--given-file", type=Path, default=GIVEN_FILE, metavar="FILE", help="used if it exists")
    parser.add_argument("--metadata-url", default=METADATA_URL, metavar="URL", help="of the instance metadata service")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, metavar="SECONDS", help="wait for it")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE")
    arguments = parser.parse_args(argv)
    try:
        # First of all, so that no server ever runs with the values of an earlier boot.
        arguments.output.unlink(missing_ok=True)
        if arguments.given_file.exists():
            text, source = arguments.given_file.read_text(encoding="utf-8"), str(arguments.given_file)
        else:
            text, source = fetch_user_data(arguments.metadata_url, arguments.patience), "user data"
        backend_host = canonical_host(parse_environment(text, source)["BACKEND_HOST"], source)
        write_environment(arguments.output, backend_host)
    except (InstanceError, OSError, UnicodeDecodeError) as error:
        print(f"mock servers: {error}", file=sys.stderr)
        return 1
    print(f"mock servers: BACKEND_HOST={backend_host} from {source}")
    return 0


def fetch_user_data(metadata_url: str, patience: float) -> str:
    """The user data by IMDSv2, retried for `patience` seconds while the network comes up.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
    Raises InstanceError when there is none or the service does not answer.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            token = ask(metadata_url, "PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
            return ask(metadata_url, "GET", "user-data", {"X-aws-ec2-metadata-token": token})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise InstanceError(
                    "this instance was launched without user data; give it an env file with BACKEND_HOST, or put one"
                    f" at {GIVEN_FILE} and start mock-instance.service again"
                ) from None
            reason = f"HTTP status {error.code}"
        except OSError as error:
            reason = str(error)
        if time.monotonic() >= deadline:
            raise InstanceError(f"the instance metadata service {metadata_url} does not answer: {reason}")
        time.sleep(PAUSE_SECONDS)


def ask(metadata_url: str, method: str, path: str, headers: dict[str, str]) -> str:
    # No proxy of the environment may see the request.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{metadata_url}/latest/{path}", method=method, headers=headers)  # noqa: S310
    with opener.open(request, timeout=REQUEST_SECONDS) as response:
        content: bytes = response.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InstanceError(f"{path} is longer than {MAX_BYTES} bytes")
    return content.decode("utf-8")


def parse_environment(text: str, source: str) -> dict[str, str]:
    """Reads `KEY=VALUE` lines with shell quoting and `#` comments: exactly the variables known here, each once."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, separator, quoted = stripped.partition("=")
        try:
            words = shlex.split(quoted)
        except ValueError as error:
            raise InstanceError(f"{source}, line {number}: {error}") from None
        if not separator or len(words) != 1:
            raise InstanceError(f"{source}, line {number}: expected KEY=VALUE")
        if name not in VARIABLES:
            raise InstanceError(f"{source}, line {number}: unknown variable {name!r}; allowed: {', '.join(VARIABLES)}")
        if name in values:
            raise InstanceError(f"{source}, line {number}: {name} is given twice")
        values[name] = words[0]
    for name in VARIABLES:
        if name not in values:
            raise InstanceError(f"{source}: {name} is missing")
    return values


def canonical_host(host: str, source: str) -> str:
    """The host in lower case, as it stands in the issuer; a DNS name (RFC 1123 section 2.1) or an IPv4 address."""
    lower = host.lower()
    labels = lower.split(".")
    is_name = len(lower) <= 253 and all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    if not is_name and not is_ipv4(lower):
        raise InstanceError(f"{source}: BACKEND_HOST={host!r} is neither a DNS name nor an IPv4 address")
    return lower


def is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def write_environment(output: Path, backend_host: str) -> None:
    fresh = output.with_suffix(".new")
    fresh.write_text(f"# Written at boot by mock-instance.service.\nBACKEND_HOST={backend_host}\n", encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(output)


if __name__ == "__main__":
    sys.exit(main())
