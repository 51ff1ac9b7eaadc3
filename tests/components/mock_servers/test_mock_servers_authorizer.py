"""The reference authorizer accepts what its issuer signed for now, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ISSUER_PORT, authorizer_asking, wait_until_ready
from .key_server import KeyServer
from .support import ADDRESS, BACKEND_HOST, Server, SigningKey, as_text, encode

ISSUER = f"http://{BACKEND_HOST}:{ISSUER_PORT}/awsexample"
Make = Callable[[SigningKey], str]


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims with changes; None removes one."""
    now = int(time.time())
    values = {"iss": ISSUER, "sub": "alice", "aud": "proxy", "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in values.items() if value is not None}


def header(**changes: Any) -> dict[str, Any]:
    values = {"alg": "RS256", "typ": "JWT", "kid": "issuer-key", **changes}
    return {name: value for name, value in values.items() if value is not None}


def ask(server: Server, token: str) -> tuple[int, str]:
    answer = server.get("/authorize", {"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.headers.get("x-auth-reason", "")


def unsigned(head: dict[str, Any], signature: str = "") -> str:
    return f"{encode(as_text(head).encode())}.{encode(as_text(claims()).encode())}.{signature}"


def hs256_with_public_key(key: SigningKey) -> str:
    signed = unsigned(header(alg="HS256")).rstrip(".")
    secret = json.dumps(key.jwk).encode()
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def parts_changed(change: Callable[[str, str, str], str]) -> Make:
    return lambda key: change(*key.token(claims()).split("."))


def flipped(part: str, position: int) -> str:
    return part[:position] + ("A" if part[position] != "A" else "B") + part[position + 1 :]


def loose_end(signature: str) -> str:
    """The same bytes in other characters: the last character's unused bits are set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return signature[:-1] + alphabet[alphabet.index(signature[-1]) | 1]


def with_duplicate(text: str, name: str) -> str:
    return text.replace("{", f'{{"{name}": "first", ', 1)


STRANGER = SigningKey("issuer-key")

REFUSED: dict[str, tuple[Make, str]] = {
    "not a JWT": (lambda _: "invalid", "not a signed JWT"),
    "two parts": (lambda _: "a.b", "not a signed JWT"),
    "five parts, as encrypted": (lambda _: "a.b.c.d.e", "not a signed JWT"),
    "empty parts": (lambda _: "..", "empty or not base64url"),
    "spaces": (lambda key: key.token(claims()).replace(".", " ."), "not base64url"),
    "header not JSON": (lambda key: key.token(claims(), "{alg"), "not a JSON object"),
    "header a list": (lambda key: key.token(claims(), "[]"), "not a JSON object"),
    "payload a number": (lambda key: key.token("1"), "not a JSON object"),
    "payload null": (lambda key: key.token("null"), "not a JSON object"),
    "alg none": (lambda _: unsigned(header(alg="none"), "AA"), "algorithm"),
    "alg none, no signature": (lambda _: unsigned(header(alg="none")), "empty"),
    "alg None": (lambda _: unsigned(header(alg="None"), "AA"), "algorithm"),
    "alg nOnE": (lambda _: unsigned(header(alg="nOnE"), "AA"), "algorithm"),
    "alg empty": (lambda _: unsigned(header(alg=""), "AA"), "algorithm"),
    "alg missing": (lambda _: unsigned(header(alg=None), "AA"), "algorithm"),
    "alg a list": (lambda key: key.token(claims(), header(alg=["RS256"])), "algorithm"),
    "alg lower case": (lambda key: key.token(claims(), header(alg="rs256")), "algorithm"),
    "alg of another family": (lambda key: key.token(claims(), header(alg="PS256")), "algorithm"),
    "HS256 with the public key": (hs256_with_public_key, "algorithm"),
    "type of something else": (lambda key: key.token(claims(), header(typ="dpop+jwt")), "type"),
    "kid unknown": (lambda key: key.token(claims(), header(kid="other")), "unknown key id"),
    "kid missing": (lambda key: key.token(claims(), header(kid=None)), "no key id"),
    "kid empty": (lambda key: key.token(claims(), header(kid="")), "no key id"),
    "kid a number": (lambda key: key.token(claims(), header(kid=1)), "no key id"),
    "kid a path": (lambda key: key.token(claims(), header(kid="../../dev/null")), "unknown key id"),
    "kid a name of Object": (lambda key: key.token(claims(), header(kid="__proto__")), "unknown key id"),
    "jwk in the header": (
        lambda _: STRANGER.token(claims(), header(jwk=STRANGER.jwk)),
        "parameter that is not allowed",
    ),
    "jku in the header": (lambda key: key.token(claims(), header(jku="http://x/")), "parameter that is not allowed"),
    "x5u in the header": (lambda key: key.token(claims(), header(x5u="http://x/")), "parameter that is not allowed"),
    "x5c in the header": (lambda key: key.token(claims(), header(x5c=["x"])), "parameter that is not allowed"),
    "crit in the header": (lambda key: key.token(claims(), header(crit=["exp"])), "parameter that is not allowed"),
    "b64 in the header": (lambda key: key.token(claims(), header(b64=True)), "parameter that is not allowed"),
    "signature of another key": (lambda _: STRANGER.token(claims()), "signature"),
    "signature stripped": (parts_changed(lambda h, p, _: f"{h}.{p}."), "empty"),
    "signature truncated": (parts_changed(lambda h, p, s: f"{h}.{p}.{s[:-2]}"), "signature"),
    "signature with a flipped bit": (parts_changed(lambda h, p, s: f"{h}.{p}.{flipped(s, 0)}"), "signature"),
    "signature written otherwise": (parts_changed(lambda h, p, s: f"{h}.{p}.{loose_end(s)}"), "not base64url"),
    "signature padded": (parts_changed(lambda h, p, s: f"{h}.{p}.{s}=="), "not base64url"),
    "payload of another token": (
        lambda key: ".".join(
            [key.token(claims()).split(".")[0], key.token(claims(sub="bob")).split(".")[1], key.signature("x.y")]
        ),
        "signature",
    ),
    "other issuer": (lambda key: key.token(claims(iss="http://evil/awsexample")), "'iss'"),
    "issuer with a slash": (lambda key: key.token(claims(iss=f"{ISSUER}/")), "'iss'"),
    "issuer missing": (lambda key: key.token(claims(iss=None)), "'iss' missing"),
    "issuer a list": (lambda key: key.token(claims(iss=[ISSUER])), "'iss'"),
    "expired": (lambda key: key.token(claims(exp=int(time.time()) - 31)), "expired"),
    "exp missing": (lambda key: key.token(claims(exp=None)), "'exp' missing"),
    "exp as text": (lambda key: key.token(claims(exp=str(int(time.time()) + 300))), "'exp'"),
    "exp true": (lambda key: key.token(claims(exp=True)), "'exp'"),
    "exp a list": (lambda key: key.token(claims(exp=[int(time.time()) + 300])), "'exp'"),
    "exp no date": (lambda key: key.token(claims(exp=1e300)), "'exp' is no date"),
    "not yet valid": (lambda key: key.token(claims(nbf=int(time.time()) + 40)), "'nbf'"),
    "nbf as text": (lambda key: key.token(claims(nbf="0")), "'nbf'"),
    "sub missing": (lambda key: key.token(claims(sub=None)), "'sub' missing"),
    "sub empty": (lambda key: key.token(claims(sub="")), "'sub'"),
    "sub a number": (lambda key: key.token(claims(sub=7)), "'sub'"),
    "sub with a line break": (lambda key: key.token(claims(sub="a\r\nX-Auth-Subject: root")), "'sub'"),
    "sub beyond ASCII": (lambda key: key.token(claims(sub="\u00e4")), "'sub'"),
    "sub too long": (lambda key: key.token(claims(sub="a" * 256)), "'sub'"),
    "exp twice": (
        lambda key: key.token(f'{json.dumps(claims())[:-1]}, "exp": {int(time.time()) + 9999}}}'),
        "unique names",
    ),
    "iss twice, once in escapes": (lambda key: key.token(with_duplicate(json.dumps(claims()), "\\u0069ss")), "unique"),
    "a nested name twice": (
        lambda key: key.token(f'{json.dumps(claims())[:-1]}, "act": [{{"sub": 1, "sub": 2}}]}}'),
        "unique names",
    ),
    "alg twice": (lambda key: key.token(claims(), with_duplicate(json.dumps(header()), "alg")), "unique names"),
    "longer than 8192 characters": (lambda key: key.token(claims(pad="x" * 7000)), "longer than"),
    "of 16 KB": (lambda key: key.token(claims(pad="x" * 12_000)), "longer than"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_refuses_a_token(authorizer: Server, issuer_key: SigningKey, title: str) -> None:
    make, reason = REFUSED[title]
    status, said = ask(authorizer, make(issuer_key))
    assert status == 403
    assert reason in said


def test_accepts_a_good_token_and_names_subject_and_expiry(authorizer: Server, issuer_key: SigningKey) -> None:
    good = claims()
    answer = authorizer.get("/authorize", {"Authorization": f"Bearer {issuer_key.token(good)}"})
    assert answer.status_code == 204
    assert answer.headers["x-auth-subject"] == "alice"
    assert answer.headers["x-auth-expires"] == str(good["exp"])


@pytest.mark.parametrize(
    "change",
    [
        {"exp": int(time.time()) - 5},
        {"nbf": int(time.time()) + 20},
        {"aud": None},
        {"aud": ["one", "two"]},
        {"nested": {"exp": 1, "list": [{"exp": 2}, {"exp": 3}]}},
        {"text": 'brackets } { ] [ , : and "quotes" \\'},
    ],
    ids=["expired within the skew", "not yet valid within the skew", "no audience", "audiences", "names", "text"],
)
def test_accepts_what_the_policy_allows(authorizer: Server, issuer_key: SigningKey, change: dict[str, Any]) -> None:
    # Made anew, so that the times hold however long the tests before took.
    moved = {
        name: value + int(time.time()) - START if name in ("exp", "nbf") else value for name, value in change.items()
    }
    assert ask(authorizer, issuer_key.token(claims(**moved))) == (204, "")


START = int(time.time())


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_in_any_case(authorizer: Server, issuer_key: SigningKey, scheme: str) -> None:
    answer = authorizer.get("/authorize", {"Authorization": f"{scheme} {issuer_key.token(claims())}"})
    assert answer.status_code == 204


@pytest.mark.parametrize("credentials", [None, "", "Bearer", "Basic YTpi", "Bearertoken"])
def test_no_token_is_401_with_a_challenge(authorizer: Server, credentials: str | None) -> None:
    headers = {} if credentials is None else {"Authorization": credentials}
    answer = authorizer.get("/authorize", headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="secure-proxy"'


def test_a_token_in_the_query_is_no_token(authorizer: Server, issuer_key: SigningKey) -> None:
    assert authorizer.get(f"/authorize?access_token={issuer_key.token(claims())}").status_code == 401


def raw_status(server: Server, request: bytes) -> int:
    with socket.create_connection((ADDRESS, server.port), timeout=10) as connection:
        connection.sendall(request)
        return int(connection.recv(4096).split(b" ")[1])


def test_two_authorization_headers_are_refused(authorizer: Server, issuer_key: SigningKey) -> None:
    line = f"Authorization: Bearer {issuer_key.token(claims())}\r\n"
    assert raw_status(authorizer, f"GET /authorize HTTP/1.1\r\nHost: x\r\n{line}{line}\r\n".encode()) == 403


def test_headers_of_a_websocket_handshake_change_nothing(authorizer: Server, issuer_key: SigningKey) -> None:
    headers = {
        "Authorization": f"Bearer {issuer_key.token(claims())}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    assert authorizer.get("/authorize", headers).status_code == 204


def test_a_token_of_1_mb_is_refused_by_its_header_size(authorizer: Server) -> None:
    request = b"GET /authorize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"x" * 100_000
    assert raw_status(authorizer, request) == 431


@pytest.mark.parametrize("path", ["/", "/authorize/", "/authorize/x", "//authorize", "/AUTHORIZE"])
def test_other_paths_are_unknown(authorizer: Server, issuer_key: SigningKey, path: str) -> None:
    headers = {"Authorization": f"Bearer {issuer_key.token(claims())}"}
    assert authorizer.get(path, headers).status_code == 404


def test_other_methods_are_refused(authorizer: Server) -> None:
    assert authorizer.post("/authorize", {}).status_code == 405


def test_a_client_that_sends_its_header_slowly_is_cut(authorizer: Server) -> None:
    with socket.create_connection((ADDRESS, authorizer.port), timeout=20) as connection:
        connection.sendall(b"GET /authorize HTTP/1.1\r\nHost:")
        started = time.monotonic()
        assert b"408" in connection.recv(4096)
        assert time.monotonic() - started < 15


@pytest.fixture
def for_audiences(node: str, servers: Path, key_server: KeyServer, tmp_path: Path) -> Iterator[Server]:
    server = authorizer_asking(node, servers, tmp_path, key_server.url, AUTHORIZER_AUDIENCES="proxy, other")
    with server:
        wait_until_ready(server)
        yield server


def test_audiences_are_required_when_configured(for_audiences: Server, issuer_key: SigningKey) -> None:
    outcomes = [
        (audience, ask(for_audiences, issuer_key.token(claims(aud=audience)))[0])
        for audience in ("proxy", ["x", "other"], "x", ["x"], [], None, 7)
    ]
    assert [status for _, status in outcomes] == [204, 204, 403, 403, 403, 403, 403], outcomes


def test_a_cached_token_ends_at_its_expiry(authorizer: Server, issuer_key: SigningKey) -> None:
    token = issuer_key.token(claims(exp=int(time.time()) - 26))
    assert ask(authorizer, token)[0] == 204
    time.sleep(4.5)
    assert ask(authorizer, token) == (403, "expired")


def test_a_flood_of_tokens_leaves_it_running(authorizer: Server, issuer_key: SigningKey) -> None:
    """More tokens than its cache holds, most of them bad."""
    good = issuer_key.token(claims())
    request = "GET /authorize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n"
    with socket.create_connection((ADDRESS, authorizer.port), timeout=30) as connection:
        for start in range(0, 12_000, 100):
            batch = "".join(request.format(f"{good}{number}") for number in range(start, start + 100))
            connection.sendall(batch.encode())
            answers = b""
            while answers.count(b"\r\n\r\n") < 100:
                answers += connection.recv(65_536)
            assert answers.count(b"403 Forbidden") == 100
    assert ask(authorizer, good)[0] == 204


def test_refusals_are_logged_by_reason_without_any_token(authorizer: Server, issuer_key: SigningKey) -> None:
    tokens = [issuer_key.token(claims()), issuer_key.token(claims(iss="x")), STRANGER.token(claims())]
    for token in tokens:
        ask(authorizer, token)
    deadline = time.monotonic() + 10
    while '"reason":"signature not by the issuer"' not in authorizer.log:
        assert time.monotonic() < deadline, "the reason is not logged"
        time.sleep(0.1)
    assert not [part for token in tokens for part in token.split(".") if part in authorizer.log]
