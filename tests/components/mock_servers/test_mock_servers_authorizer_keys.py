"""The authorizer's key set: rotation, a key server in trouble, and clients that try to use it against that server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

from .conftest import authorizer_asking, wait_until_ready
from .key_server import (
    STALL_SECONDS,
    Behaviour,
    KeyServer,
    answering,
    break_off,
    stall_before_answer,
    stall_in_body,
)
from .support import ADDRESS, BACKEND_HOST, Server, SigningKey
from .test_mock_servers_authorizer import ask, claims

FAST = {
    "KEY_SET_REFRESH_MS": "200",
    "KEY_SET_RETRY_MS": "50",
    "KEY_SET_COOLDOWN_MS": "300",
    "KEY_SET_STALE_MS": "4000",
}
Start = Callable[..., Server]


@pytest.fixture
def start(node: str, servers: Path, tmp_path: Path) -> Start:
    return lambda url, **environment: authorizer_asking(node, servers, tmp_path, url, **{**FAST, **environment})


@pytest.fixture(scope="module")
def second_key() -> SigningKey:
    return SigningKey("second-key")


def wait_for_status(server: Server, token: str, expected: int, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while (status := ask(server, token)[0]) != expected:
        assert time.monotonic() < deadline, f"still {status}, not {expected}: {server.log}"
        time.sleep(0.02)


def test_answers_503_until_the_key_server_comes_up(start: Start, issuer_key: SigningKey) -> None:
    port = free_port()
    token = issuer_key.token(claims())
    with start(f"http://{ADDRESS}:{port}/jwks") as authorizer:
        assert ask(authorizer, token)[0] == 503
        assert authorizer.get("/healthz").status_code == 503
        assert authorizer.get("/authorize").status_code == 503
        with KeyServer(issuer_key.jwk, port=port):
            wait_for_status(authorizer, token, 204)
            assert authorizer.get("/healthz").status_code == 200


def test_keys_stay_good_for_a_while_when_the_key_server_is_gone_and_then_nobody_is_accepted(
    start: Start, issuer_key: SigningKey
) -> None:
    token = issuer_key.token(claims())
    with KeyServer(issuer_key.jwk) as keys, start(keys.url) as authorizer:
        wait_until_ready(authorizer)
        keys.behave = answering(500)
        time.sleep(0.5)
        assert ask(authorizer, token)[0] == 204
        assert ask(authorizer, issuer_key.token(claims(iss="x")))[0] == 403
        wait_for_status(authorizer, token, 503)
        assert authorizer.get("/healthz").status_code == 503
        keys.behave = keys.serve_keys
        wait_for_status(authorizer, token, 204)


# Each made from the issuer's good key set, which is what would be believed if the trouble went unnoticed.
TROUBLE: dict[str, Callable[[bytes], Behaviour]] = {
    "an error": lambda good: answering(500, good),
    "not found": lambda good: answering(404, good),
    "a redirect": lambda good: answering(302, good, Location="http://127.0.0.1:9/"),
    "garbage": lambda _: answering(200, b"<html>"),
    "nothing": lambda _: answering(200),
    "no keys": lambda _: answering(200, b'{"keys": []}'),
    "keys of another form": lambda _: answering(200, b'{"keys": {"a": 1}}'),
    "keys that are none": lambda _: answering(200, b'{"keys": [null, 1, "x", {}]}'),
    "a list": lambda good: answering(200, b"[" + good + b"]"),
    "keys given twice": lambda good: answering(200, b'{"keys": [], ' + good[1:]),
    "10 MB": lambda good: answering(200, good + b" " * 10_000_000),
    "too many keys": lambda good: answering(200, good.replace(b"[", b"[" + b"null, " * 64, 1)),
    "an answer that never comes": lambda _: stall_before_answer,
    "an answer that stalls": lambda _: stall_in_body,
    "an answer that breaks off": lambda _: break_off,
}


@pytest.mark.parametrize("title", TROUBLE)
def test_a_key_server_in_trouble_is_never_a_reason_to_accept(start: Start, issuer_key: SigningKey, title: str) -> None:
    token = issuer_key.token(claims())
    with KeyServer(issuer_key.jwk) as keys:
        keys.behave = TROUBLE[title](keys.key_set)
        with start(keys.url, KEY_SET_TIMEOUT_MS="300") as authorizer:
            for _ in range(6):
                started = time.monotonic()
                assert ask(authorizer, token)[0] == 503
                assert time.monotonic() - started < STALL_SECONDS / 3
                time.sleep(0.07)
            assert authorizer.is_running
            keys.behave = keys.serve_keys
            wait_for_status(authorizer, token, 204)


UNUSABLE: dict[str, Callable[[dict[str, str]], list[dict[str, Any]]]] = {
    "a key for encryption": lambda jwk: [{**jwk, "use": "enc"}],
    "a key of another algorithm": lambda jwk: [{**jwk, "alg": "PS256"}],
    "a key without an id": lambda jwk: [{name: value for name, value in jwk.items() if name != "kid"}],
    "a symmetric key": lambda jwk: [{"kty": "oct", "kid": jwk["kid"], "k": "c2VjcmV0"}],
    "one id for two keys": lambda jwk: [jwk, {**jwk, "n": SigningKey("x").jwk["n"]}],
    "a key of 1024 bits": lambda jwk: [SigningKey(jwk["kid"], bits=1024).jwk],
}


@pytest.mark.parametrize("title", UNUSABLE)
def test_keys_that_must_not_verify_are_not_used(start: Start, issuer_key: SigningKey, title: str) -> None:
    keys = UNUSABLE[title](issuer_key.jwk)
    with KeyServer(*keys) as server, start(server.url) as authorizer:
        time.sleep(0.3)
        assert ask(authorizer, issuer_key.token(claims()))[0] == 503
        assert authorizer.get("/healthz").status_code == 503


def test_a_new_key_is_known_at_its_first_token(start: Start, issuer_key: SigningKey, second_key: SigningKey) -> None:
    with (
        KeyServer(issuer_key.jwk) as keys,
        start(keys.url, KEY_SET_REFRESH_MS="60000", KEY_SET_STALE_MS="60000") as authorizer,
    ):
        wait_until_ready(authorizer)
        keys.keys = [issuer_key.jwk, second_key.jwk]
        assert ask(authorizer, second_key.token(claims()))[0] == 204
        assert ask(authorizer, issuer_key.token(claims()))[0] == 204


def test_a_removed_key_ends_even_cached_tokens(start: Start, issuer_key: SigningKey, second_key: SigningKey) -> None:
    token = issuer_key.token(claims())
    with KeyServer(issuer_key.jwk) as keys, start(keys.url) as authorizer:
        wait_until_ready(authorizer)
        assert ask(authorizer, token)[0] == 204
        keys.keys = [second_key.jwk]
        wait_for_status(authorizer, token, 403)
        assert ask(authorizer, second_key.token(claims()))[0] == 204


def test_a_key_replaced_under_its_id_ends_cached_tokens(start: Start, issuer_key: SigningKey) -> None:
    token = issuer_key.token(claims())
    with KeyServer(issuer_key.jwk) as keys, start(keys.url) as authorizer:
        wait_until_ready(authorizer)
        assert ask(authorizer, token)[0] == 204
        keys.keys = [SigningKey(issuer_key.kid).jwk]
        wait_for_status(authorizer, token, 403)


def test_random_key_ids_cause_a_handful_of_downloads(start: Start, issuer_key: SigningKey) -> None:
    with KeyServer(issuer_key.jwk) as keys:
        rarely = dict.fromkeys(("KEY_SET_REFRESH_MS", "KEY_SET_STALE_MS"), "60000")
        with start(keys.url, KEY_SET_COOLDOWN_MS="60000", **rarely) as authorizer:
            wait_until_ready(authorizer)
            for number in range(300):
                head = {"alg": "RS256", "kid": f"random-{number}"}
                assert ask(authorizer, issuer_key.token(claims(), head))[0] == 403
            assert keys.requests <= 2


def test_private_members_in_the_key_set_are_ignored(start: Start, issuer_key: SigningKey) -> None:
    with KeyServer({**issuer_key.jwk, "d": "AQAB", "p": "AQAB"}) as keys, start(keys.url) as authorizer:
        wait_until_ready(authorizer)
        assert ask(authorizer, issuer_key.token(claims()))[0] == 204


def test_trouble_is_logged_once_and_not_every_time(start: Start, issuer_key: SigningKey) -> None:
    with KeyServer(issuer_key.jwk) as keys:
        keys.behave = answering(500)
        with start(keys.url) as authorizer:
            time.sleep(1)
            assert keys.requests > 3
            assert authorizer.log.count("keys-unavailable") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEY_SET_URL", ""),
        ("BACKEND_HOST", ""),
        ("AUTHORIZER_PORT", "70000"),
        ("OAUTH_SERVER_PORT", ""),
        ("KEY_SET_STALE_MS", "soon"),
    ],
)
def test_a_bad_setting_stops_the_start_and_is_named(node: str, servers: Path, name: str, value: str) -> None:
    environment = {
        "AUTHORIZER_PORT": str(free_port()),
        "OAUTH_SERVER_PORT": "10080",
        "BACKEND_HOST": BACKEND_HOST,
        "KEY_SET_URL": "http://127.0.0.1:9/",
        "LISTEN_ADDRESS": ADDRESS,
        name: value,
    }
    outcome = subprocess.run(
        [node, str(servers / "authorizer.mjs")], env=environment, capture_output=True, text=True, timeout=30
    )
    assert outcome.returncode == 1
    assert name in outcome.stderr
