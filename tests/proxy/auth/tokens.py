"""Signing keys and tokens made by hand, good ones and every bad kind (RFC 7515, RFC 7518, RFC 7519)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES: dict[str, tuple[ec.EllipticCurve, str, int]] = {
    "ES256": (ec.SECP256R1(), "P-256", 32),
    "ES384": (ec.SECP384R1(), "P-384", 48),
    "ES512": (ec.SECP521R1(), "P-521", 66),
}


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def segment(content: Mapping[str, Any] | str) -> str:
    """One part of a token: an object, or text that may be anything."""
    return encode((content if isinstance(content, str) else json.dumps(content)).encode())


def number(value: int, length: int | None = None) -> str:
    return encode(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class RsaKey:
    """An RSA key pair; signs with the RS and PS families."""

    def __init__(self, kid: str, bits: int = 2048) -> None:
        self.kid = kid
        self._key = rsa.generate_private_key(65537, bits)

    def jwk(self, **members: Any) -> dict[str, Any]:
        public = self._key.public_key().public_numbers()
        return {"kty": "RSA", "use": "sig", "kid": self.kid, "n": number(public.n), "e": number(public.e), **members}

    def public_pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def sign(self, algorithm: str, data: bytes) -> bytes:
        chosen = HASHES[algorithm[2:]]
        if algorithm.startswith("PS"):
            salt = padding.PSS(padding.MGF1(chosen), padding.PSS.DIGEST_LENGTH)
            return self._key.sign(data, salt, chosen)
        return self._key.sign(data, padding.PKCS1v15(), chosen)


class EcKey:
    """A key pair on the curve of one ES algorithm."""

    def __init__(self, kid: str, algorithm: str) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self._curve, self._name, self._size = CURVES[algorithm]
        self._key = ec.generate_private_key(self._curve)

    def jwk(self, **members: Any) -> dict[str, Any]:
        public = self._key.public_key().public_numbers()
        x, y = number(public.x, self._size), number(public.y, self._size)
        return {"kty": "EC", "crv": self._name, "use": "sig", "kid": self.kid, "x": x, "y": y, **members}

    def sign(self, algorithm: str, data: bytes) -> bytes:
        first, second = utils.decode_dss_signature(self._key.sign(data, ec.ECDSA(HASHES[algorithm[2:]])))
        return first.to_bytes(self._size, "big") + second.to_bytes(self._size, "big")


def claims(issuer: str, **changes: Any) -> dict[str, Any]:
    """Claims of a token that is good for five minutes; a claim given as None is left out."""
    now = int(time.time())
    content = {"iss": issuer, "sub": "alice", "iat": now, "exp": now + 300, "scope": "connect read", **changes}
    return {name: value for name, value in content.items() if value is not None}


def token(key: RsaKey | EcKey, content: Mapping[str, Any] | str, *, algorithm: str = "RS256", **header: Any) -> str:
    """A signed token; header members given as None are left out."""
    members = {"alg": algorithm, "typ": "JWT", "kid": key.kid, **header}
    head = segment({name: value for name, value in members.items() if value is not None})
    signed = f"{head}.{segment(content)}"
    return f"{signed}.{encode(key.sign(algorithm, signed.encode()))}"


def hmac_token(secret: bytes, content: Mapping[str, Any], kid: str) -> str:
    """HS256: with an issuer's public key as the secret, the classic confusion of algorithms."""
    signed = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{segment(content)}"
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
