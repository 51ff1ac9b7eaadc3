"""Who may reach the public ports."""

from __future__ import annotations

import ipaddress

import httpx

from deployment.errors import NotStartedError
from stacks.settings import ExternalIp

DETECTOR = "https://checkip.amazonaws.com"
_TIMEOUT_SECONDS = 10.0
_REMEDY = "name the addresses yourself: --admitted-cidr 203.0.113.7/32"
DETECT = "detect"  # instead of a block on the command line


def parse_cidr(text: str) -> str:
    """An IPv4 block as CloudFormation wants it; one address is a block of one. Raises ValueError."""
    return str(ipaddress.IPv4Network(text))


def admitted_cidr(
    chosen: str | None, settings: ExternalIp, present: str | None, detector: str = DETECTOR
) -> tuple[str, str]:
    """The block to admit and where it is from.

    `chosen` is what the command line says, a block or `detect`; else the setting of cdk.json counts. Where that says to
    detect, a deployment that exists keeps the block that it admits, `present`: an update from another machine must not
    lock out those who use it.
    """
    if chosen is not None and chosen != DETECT:
        return chosen, "--admitted-cidr"
    if chosen is None and not settings.auto_detect:
        return parse_cidr(settings.i_p_address), "externalIp.iPAddress in cdk.json"
    if chosen is None and present is not None:
        return present, f"as before; --admitted-cidr CIDR changes it, --admitted-cidr {DETECT} finds this machine's"
    return detect_address(detector), "this machine's address"


def detect_address(url: str) -> str:
    """The public IPv4 address of this machine as a block, as the service at `url` sees it.

    Raises `NotStartedError` when it does not answer within seconds, or answers with anything but a public address.
    """
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_SECONDS, follow_redirects=False)
        answer.raise_for_status()
    # The latter: the environment names a proxy that the HTTP client cannot use.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:
        raise NotStartedError(f"this machine's address cannot be detected: {url}: {error}; {_REMEDY}") from error
    text = answer.text.strip()
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise NotStartedError(f"{url} answers {text[:40]!r}, which is no IPv4 address; {_REMEDY}") from None
    if not address.is_global:
        raise NotStartedError(f"{url} answers {address}, which is not an address on the internet; {_REMEDY}")
    return f"{address}/32"
