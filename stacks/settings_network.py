"""Kinds of settings that name networks, hosts and machines: CIDR blocks, URLs, e-mail addresses, instance types."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from stacks.settings_types import Kind, RefusedError, parse_text

# Ranges that a VPC cannot have (https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html), and Docker's
# default bridge, which would shadow addresses of the VPC on the mock servers' machine.
_NOT_FOR_A_VPC = tuple(
    ipaddress.IPv4Network(block)
    for block in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.17.0.0/16", "224.0.0.0/3")
)
_CIDR = re.compile(r"[0-9.]{7,15}(?:/[0-9]{1,2})?", re.ASCII)
_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_HOST_LABEL}(?:\.{_HOST_LABEL})*", re.ASCII)
# What a URL path may hold without meaning anything to a shell, to NGINX or to JSON.
_URL_PATH = re.compile(r"[A-Za-z0-9._~/:@+,=%-]*", re.ASCII)
BACKEND_HOST = "${BACKEND_HOST}"  # the internal load balancer
OAUTH_BACKEND_PORT = "${OAUTH_BACKEND_PORT}"
_PLACEHOLDERS = {BACKEND_HOST: "backend-host", OAUTH_BACKEND_PORT: "10080"}

_MAILBOX = r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*"
_EMAIL = re.compile(rf"(?=.{{1,254}}\Z)(?=[^@]{{1,64}}@){_MAILBOX}@{_HOST_LABEL}(?:\.{_HOST_LABEL})+", re.ASCII)
# Nobody reads mail there: RFC 2606 sections 2 and 3, and the address that earlier versions of this project shipped.
_UNREAD_DOMAINS = re.compile(r".*[@.](?:example\.(?:com|net|org)|example|invalid|test|localhost)", re.IGNORECASE)
_UNREAD_ADDRESSES = frozenset({"email@domian.com"})

_INSTANCE_TYPE = re.compile(
    r"(?P<family>[a-z]{1,4})(?P<generation>[0-9]{1,2})?(?P<options>[a-z]*(?:-[a-z0-9]+)*)"
    r"\.(?:nano|micro|small|medium|large|(?:[1-9][0-9]{0,2})?xlarge|metal(?:-[1-9][0-9]{0,2}xl)?)",
    re.ASCII,
)


def is_host_name(host: str) -> bool:
    """Whether `host` is a DNS name in letters, digits and hyphens (RFC 1123 section 2.1) or an IPv4 address."""
    if host.rpartition(".")[2].isdecimal():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    return _HOST_NAME.fullmatch(host) is not None


def parse_network(value: object) -> ipaddress.IPv4Network:
    text = parse_text(value)
    if not _CIDR.fullmatch(text):
        raise RefusedError("is not an IPv4 CIDR block")
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        wrong = "has host bits set" if "host bits" in str(error) else "is not an IPv4 CIDR block"
        raise RefusedError(wrong) from None


def _parse_vpc_cidr(value: object) -> str:
    network = parse_network(value)
    if "/" not in parse_text(value) or not 16 <= network.prefixlen <= 28:
        raise RefusedError("has a size that a VPC cannot have")
    for block in _NOT_FOR_A_VPC:
        if network.overlaps(block):
            raise RefusedError(f"overlaps {block}, which a VPC or its machines use otherwise")
    return str(network)


def _parse_source_cidr(value: object) -> str:
    return str(parse_network(value))


def parse_url(value: object) -> str:
    """An http or https URL of host, port and path; the placeholders are checked as the values they stand for."""
    text = parse_text(value)
    filled = text
    for placeholder, sample in _PLACEHOLDERS.items():
        filled = filled.replace(placeholder, sample)
    if "$" in filled:
        raise RefusedError("holds a placeholder that does not exist")
    try:
        parts = urlsplit(filled)
        port = parts.port
    except ValueError:
        raise RefusedError("is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise RefusedError("is not an http or https URL")
    if "@" in parts.netloc or "?" in filled or "#" in filled:
        raise RefusedError("has user information, a query or a fragment")
    if not parts.hostname or not is_host_name(parts.hostname) or port == 0:
        raise RefusedError("has a wrong host or port")
    if parts.netloc.endswith(":") or not _URL_PATH.fullmatch(parts.path):
        raise RefusedError("has characters that need quoting")
    if filled != f"{parts.scheme}://{parts.netloc}{parts.path}":
        raise RefusedError("is not written plainly")
    return text


def _parse_origin(value: object) -> str:
    text = parse_text(value)
    if "$" in text or urlsplit(parse_url(text)).path:
        raise RefusedError("is more than an origin")
    if text != text.lower():
        raise RefusedError("has capital letters, which browsers never send")
    return text


def _parse_server_name(value: object) -> str:
    name = parse_text(value)
    if name and not is_host_name(name):
        raise RefusedError("is not a host name")
    return name


def _parse_email(value: object) -> str:
    text = parse_text(value)
    if not _EMAIL.fullmatch(text):
        raise RefusedError("is not an e-mail address")
    return text


def is_unread_email(address: str) -> bool:
    """Whether `address` is a placeholder to which nothing must be sent."""
    return address in _UNREAD_ADDRESSES or _UNREAD_DOMAINS.fullmatch(address) is not None


def _parse_instance_type(value: object) -> str:
    text = parse_text(value)
    if not _INSTANCE_TYPE.fullmatch(text):
        raise RefusedError("is not an EC2 instance type")
    if text.startswith("mac"):
        raise RefusedError("runs macOS, not Linux")
    return text


def architecture_of(instance_type: str) -> str:
    """`arm64` or `x86_64`: Graviton types carry a `g` behind their generation, except the first, `a1`.

    https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
    """
    match = _INSTANCE_TYPE.fullmatch(instance_type)
    if match is None:
        raise ValueError(f"{instance_type} is not an EC2 instance type")
    return "arm64" if match["family"] == "a" or "g" in match["options"] else "x86_64"


VPC_CIDR = Kind(
    "CIDR block",
    "an IPv4 block from /16 to /28 without host bits, outside "
    + ", ".join(str(block) for block in _NOT_FOR_A_VPC)
    + ", such as `192.168.0.0/16`",
    _parse_vpc_cidr,
)
SOURCE_CIDR = Kind(
    "CIDR block", "an IPv4 block without host bits such as `203.0.113.0/24`, or one address", _parse_source_cidr
)
URL = Kind(
    "URL",
    "an http or https URL of host, port and path without query, fragment or characters that need quoting; "
    "the placeholders `${BACKEND_HOST}` and `${OAUTH_BACKEND_PORT}` are filled on the instance",
    parse_url,
)
ORIGIN = Kind("origin", "scheme, host and port in lower case, such as `https://app.example.org`", _parse_origin)
SERVER_NAME = Kind("host name", "a DNS name or an IPv4 address, or nothing", _parse_server_name)
EMAIL = Kind("e-mail address", "one plain address such as `team@your-company.com`", _parse_email)
INSTANCE_TYPE = Kind("instance type", "a Linux instance type such as `t3.medium`", _parse_instance_type)
