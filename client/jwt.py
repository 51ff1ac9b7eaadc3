"""Just enough of JWTs (RFC 7519) to look into one and to spoil one. Verifying them is the proxy's work, not ours."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class InvalidJwtError(ValueError):
    """Not a signed JWT in compact serialization; the text says why and holds no part of the token."""


@dataclass(frozen=True)
class Jwt:
    """A signed JWT in compact serialization (RFC 7515, section 7.1), taken apart and not verified."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any] = field(repr=False)
    signing_input: str = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, token: str) -> Jwt:
        """Takes a token apart; raises InvalidJwtError."""
        if not _COMPACT.fullmatch(token):
            raise InvalidJwtError("not three base64url segments")
        signing_input, _, signature = token.rpartition(".")
        header, _, claims = signing_input.partition(".")
        return cls(_object(header, "header"), _object(claims, "claims"), signing_input, _decode(signature, "signature"))

    @property
    def expires_at(self) -> float | None:
        """The `exp` claim in epoch seconds; None if it is missing or not a number."""
        value = self.claims.get("exp")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            seconds = float(value)
        except OverflowError:
            return None
        return seconds if math.isfinite(seconds) else None

    def with_altered_signature(self) -> str:
        """The same token, one bit of the signature flipped: well-formed, and only verifying the signature shows it.

        The bit is in the middle: the last character of base64url may have bits that decoders ignore.
        """
        altered = bytearray(self.signature)
        altered[len(altered) // 2] ^= 0x01
        return f"{self.signing_input}.{base64.urlsafe_b64encode(altered).decode('ascii').rstrip('=')}"


def _decode(segment: str, name: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise InvalidJwtError(f"the {name} is not base64url") from None


def _object(segment: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(segment, name))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidJwtError(f"the {name} is not a JSON object")
    return value
