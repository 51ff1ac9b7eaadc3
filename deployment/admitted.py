"""Who may reach the public ports."""

from __future__ import annotations

import ipaddress

import httpx

from deployment.errors import NotStartedError
from stacks.settings import ExternalIp

DETECTOR = "https://checkip.amazonaws.com"
_TIMEOUT_SECONDS = 10.0
_REMEDY = "name the addresses yourself: --admitted-cidr 203.0.113.7/32"


def parse_cidr(text: str) -> str:
    """An IPv4 block as CloudFormation wants it; one address is a block of one. Raises ValueError."""
    return str(ipaddress.IPv4Network(text))


def admitted_cidr(chosen: str | None, settings: ExternalIp, detector: str = DETECTOR) -> tuple[str, str]:
    """The block to admit and where it is from: chosen on the command line, detected, or set in cdk.json."""
    if chosen is not None:
        return chosen, "--admitted-cidr"
    if settings.auto_detect:
        return detect_address(detector), "this machine's address"
    return parse_cidr(settings.i_p_address), "externalIp.iPAddress"


def detect_address(url: str) -> str:
    """The public IPv4 address of this machine as a block, as the service at `url` sees it.

    Raises `NotStartedError` when it does not answer within seconds, or answers with anything but a public address.
    """
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_SECONDS, follow_redirects=False)
        answer.raise_for_status()
        text = answer.text.strip()
        address = ipaddress.IPv4Address(text)
    except httpx.HTTPError as error:
        raise NotStartedError(f"this machine's address cannot be detected: {url}: {error}; {_REMEDY}") from error
    except ValueError:
        raise NotStartedError(f"{url} answers {text[:40]!r}, which is no IPv4 address; {_REMEDY}") from None
    if not address.is_global:
        raise NotStartedError(f"{url} answers {address}, which is not an address on the internet; {_REMEDY}")
    return f"{address}/32"
