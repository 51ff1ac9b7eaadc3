"""Tokens signed with a key made on the spot (RFC 7515, RFC 7519), by the openssl command."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIFETIME_SECONDS = 300
KEY_ID = "self-test"


def encode(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


class SigningKey:
    """An RSA key that lives in `directory` for as long as the directory does."""

    def __init__(self, directory: Path) -> None:
        self._private = directory / "signing-key.pem"
        self._public = directory / "signing-key.pub"
        self._signature = directory / "signature"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._private))
        openssl("pkey", "-in", str(self._private), "-pubout", "-out", str(self._public))

    def key_set(self) -> dict[str, Any]:
        """The JSON Web Key Set with the public key (RFC 7517)."""
        printed = openssl("rsa", "-in", str(self._private), "-noout", "-modulus").decode().strip()
        modulus = bytes.fromhex(printed.split("=", 1)[1])
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": encode(modulus), "e": "AQAB"}
        return {"keys": [key]}

    def token(self, claims: Mapping[str, Any], *, algorithm: str = "RS256") -> str:
        """A signed token; with algorithm `none` the same without a signature."""
        header = {"alg": algorithm, "typ": "JWT", "kid": KEY_ID}
        signed = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
        if algorithm == "none":
            return signed + "."
        signature = openssl("dgst", "-sha256", "-sign", str(self._private), data=signed.encode())
        return f"{signed}.{encode(signature)}"

    def accepts(self, token: str) -> bool:
        """Whether the token is RS256, signed by this key and not expired: what an authorizer must check."""
        try:
            header, claims, signature = token.split(".")
            if json.loads(decode(header)).get("alg") != "RS256" or json.loads(decode(claims))["exp"] < time.time():
                return False
            self._signature.write_bytes(decode(signature))
            openssl(
                "dgst", "-sha256", "-verify", str(self._public), "-signature", str(self._signature),
                data=f"{header}.{claims}".encode(),
            )  # fmt: skip
        except (ValueError, KeyError, subprocess.CalledProcessError):
            return False
        return True


def claims(issuer: str, *, lifetime_seconds: int = LIFETIME_SECONDS) -> dict[str, Any]:
    """The claims of a token that is good for `lifetime_seconds`; a negative number makes an expired one."""
    now = int(time.time())
    return {"iss": issuer, "sub": "self-test", "iat": now - 3600, "exp": now + lifetime_seconds}


def altered(token: str) -> str:
    """The token with one bit of its signature changed."""
    head, _, signature = token.rpartition(".")
    damaged = bytearray(decode(signature))
    damaged[len(damaged) // 2] ^= 1
    return f"{head}.{encode(bytes(damaged))}"
