"""Signing keys: every algorithm that is promised, rotation, and key servers that are down, slow, wrong or hostile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest

from tests.proxy.auth import issuer as behaviours
from tests.proxy.auth import tokens
from tests.proxy.auth.conftest import OPENIDC, Setting, SettingMaker
from tests.proxy.auth.issuer import Issuer

pytestmark = pytest.mark.source

# Two documents of at most 5 s together, and a little for the machine.
PATIENCE_SECONDS = 9.0


def status_of(setting: Setting, token: str) -> int:
    answer = setting.proxy.open(token)
    answer.socket.close()
    return answer.status


def others_are_served(setting: Setting) -> bool:
    """Whether the workers answer at once, whatever else they are waiting for."""
    started = time.monotonic()
    return all(setting.proxy.health("/healthz")[0] == 200 for _ in range(8)) and time.monotonic() - started < 4


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
def test_each_algorithm_is_verified(make_setting: SettingMaker, algorithm: str) -> None:
    make = (lambda: tokens.EcKey("k", algorithm)) if algorithm.startswith("ES") else (lambda: tokens.RsaKey("k"))
    key, other = make(), make()
    with Issuer(keys=[key]) as issuer, make_setting(OPENIDC, issuer=issuer, algorithms=[algorithm]) as made:
        content = tokens.claims(issuer.url)
        good = tokens.token(key, content, algorithm=algorithm)
        assert status_of(made, good) == 101
        assert status_of(made, tokens.token(other, content, algorithm=algorithm)) == 403
        head, _, signature = good.rpartition(".")
        damaged = bytearray(tokens.decode(signature))
        damaged[20] ^= 1
        assert status_of(made, f"{head}.{tokens.encode(bytes(damaged))}") == 403
        assert status_of(made, f"{head}.{tokens.encode(bytes(len(damaged)))}") == 403
        assert made.proxy.log("http-error.log").count("[alert]") == 0


def test_a_key_is_good_for_its_own_algorithm_alone(make_setting: SettingMaker) -> None:
    rsa, curve = tokens.RsaKey("rsa"), tokens.EcKey("curve", "ES256")
    short = tokens.RsaKey("short", bits=1024)
    with Issuer(keys=[rsa, curve, short]) as issuer:
        allowed = ["RS256", "PS256", "ES256", "ES384"]
        with make_setting(OPENIDC, issuer=issuer, algorithms=allowed) as made:
            content = tokens.claims(issuer.url)
            assert status_of(made, tokens.token(rsa, content, kid="curve")) == 403
            assert status_of(made, tokens.token(curve, content, algorithm="ES256", kid="rsa")) == 403
            assert status_of(made, tokens.token(curve, content, algorithm="ES384", kid="curve")) == 403
            assert status_of(made, tokens.token(short, content)) == 403
            assert status_of(made, tokens.token(curve, content, algorithm="ES256")) == 101


def test_a_key_s_own_algorithm_in_the_key_set_is_respected(make_setting: SettingMaker) -> None:
    key = tokens.RsaKey("bound")
    with Issuer(keys=[key]) as issuer:
        content = json.dumps({"keys": [key.jwk(alg="RS256")]}).encode()
        issuer.answers[issuer.key_set_path] = lambda handler: behaviours.send(handler, content)
        with make_setting(OPENIDC, issuer=issuer, algorithms=["RS256", "PS256"]) as made:
            assert status_of(made, tokens.token(key, tokens.claims(issuer.url), algorithm="PS256")) == 403
            assert made.proxy.audited("refusal")["reason"] == "token's algorithm is not its key's"
            assert status_of(made, tokens.token(key, tokens.claims(issuer.url))) == 101


def test_a_new_key_is_taken_up_without_a_restart(make_setting: SettingMaker) -> None:
    with make_setting(OPENIDC) as made:
        assert status_of(made, made.token()) == 101
        fresh = tokens.RsaKey("rotated")
        made.issuer.keys.append(fresh)
        token = tokens.token(fresh, tokens.claims(made.issuer.url))
        deadline = time.monotonic() + 15
        while status_of(made, token) != 101:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert status_of(made, made.token()) == 101


def test_a_withdrawn_key_takes_its_cached_verdicts_with_it(make_setting: SettingMaker) -> None:
    with make_setting(OPENIDC, staleKeys="4s") as made:
        token = made.token()
        assert [status_of(made, token) for _ in range(4)] == [101] * 4
        made.issuer.keys[0] = tokens.RsaKey(made.issuer.key.kid)
        deadline = time.monotonic() + 20
        while status_of(made, token) == 101:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        time.sleep(1)  # until the other worker has seen it
        assert [status_of(made, token) for _ in range(4)] == [403] * 4


def test_made_up_key_ids_do_not_hammer_the_issuer(make_setting: SettingMaker) -> None:
    with make_setting(OPENIDC) as made:
        before = made.issuer.downloads()
        shape = made.token().split(".")
        started = time.monotonic()
        threads = [threading.Thread(target=flood, args=(made, shape, str(index))) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - started
        deadline = time.monotonic() + 5
        while sum(record["event"] == "refusal" for record in made.proxy.audit()) < 10_000:
            assert time.monotonic() < deadline, "a refusal has no record"
        assert made.issuer.downloads() - before <= 2 + elapsed / 10
        assert status_of(made, made.token()) == 101


def flood(made: Setting, shape: list[str], name: str) -> None:
    """2,500 handshakes, on several connections because NGINX ends one after a thousand requests."""
    for part in range(5):
        flood_part(made, shape, f"{name}-{part}")


def flood_part(made: Setting, shape: list[str], name: str) -> None:
    """500 handshakes with key ids of their own on one connection."""
    with made.proxy.connect(made.proxy.wss_port) as client:
        for number in range(500):
            head = tokens.segment({"alg": "RS256", "typ": "JWT", "kid": f"{name}-{number}"})
            request = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {head}.{shape[1]}.{shape[2]}\r\n\r\n"
            client.sendall(request.encode())
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                chunk = client.recv(4096)
                assert chunk, "the connection ended early"
                answer += chunk
            assert b" 403 " in answer[:40]


@pytest.mark.parametrize(
    "answer", [behaviours.garbage, behaviours.redirect, behaviours.huge, behaviours.hang, behaviours.drip]
)
@pytest.mark.parametrize("document", ["jwks", ".well-known/openid-configuration"])
def test_a_key_server_that_misbehaves_from_the_start_opens_nothing(
    make_setting: SettingMaker, answer: Callable[[BaseHTTPRequestHandler], None], document: str
) -> None:
    with Issuer() as issuer:
        issuer.answers[f"/{issuer.name}/{document}"] = answer
        with make_setting(OPENIDC, issuer=issuer, ready=False) as made:
            started = time.monotonic()
            waiting = threading.Thread(target=status_of, args=(made, made.token()))
            waiting.start()
            assert others_are_served(made)
            assert status_of(made, made.token()) == 503
            assert time.monotonic() - started < PATIENCE_SECONDS
            waiting.join()
            assert made.proxy.audited("refusal")["rule"] == "verifier"
            assert made.proxy.health("/readyz")[0] == 503
            assert made.proxy.backend.accepted <= 2, "only /readyz may have asked the application"


def test_a_key_server_that_is_down_at_start_heals_without_a_restart(make_setting: SettingMaker) -> None:
    issuer = Issuer()
    with make_setting(OPENIDC, issuer=issuer, ready=False) as made:
        assert status_of(made, made.token()) == 503
        with issuer:
            deadline = time.monotonic() + 10
            while status_of(made, made.token()) != 101:
                assert time.monotonic() < deadline
                time.sleep(0.3)


def test_known_keys_serve_for_a_bounded_time_while_the_issuer_is_down(make_setting: SettingMaker) -> None:
    with Issuer() as issuer, make_setting(OPENIDC, issuer=issuer, staleKeys="8s") as made:
        token = made.token()
        assert status_of(made, token) == 101
        issuer.stop()
        assert status_of(made, token) == 101
        assert status_of(made, made.token()) == 101
        deadline = time.monotonic() + 20
        while status_of(made, token) != 503:
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest.mark.parametrize("down", ["first", "second"])
def test_the_outage_of_one_issuer_does_not_keep_out_the_users_of_another(make_setting: SettingMaker, down: str) -> None:
    first, second = Issuer(), Issuer("second")
    up = second if down == "first" else first
    with up, make_setting(OPENIDC, issuer=first, furtherIssuers=[{"issuer": second.url}]) as made:
        assert made.proxy.health("/readyz")[0] == 200
        assert status_of(made, tokens.token(up.key, tokens.claims(up.url))) == 101
        other = first if up is second else second
        assert status_of(made, tokens.token(other.key, tokens.claims(other.url))) == 503
        assert f"signing keys of {other.url} cannot be refreshed" in made.proxy.log("http-error.log")


def test_a_key_set_s_address_keeps_its_query(make_setting: SettingMaker) -> None:
    with Issuer() as issuer:
        content = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks?tenant=7&use=sig"}
        path = f"/{issuer.name}/.well-known/openid-configuration"
        issuer.answers[path] = lambda handler: behaviours.send(handler, json.dumps(content).encode())
        with make_setting(OPENIDC, issuer=issuer) as made:
            assert status_of(made, made.token()) == 101
            assert f"{issuer.key_set_path}?tenant=7&use=sig" in [asked for asked, _, _ in issuer.requests]


@pytest.mark.parametrize("answer", [behaviours.garbage, behaviours.huge, behaviours.hang])
def test_bad_answers_do_not_replace_good_keys(
    make_setting: SettingMaker, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    with make_setting(OPENIDC) as made:
        made.issuer.answers[made.issuer.key_set_path] = answer
        unknown = tokens.token(tokens.RsaKey("unknown"), tokens.claims(made.issuer.url))
        assert status_of(made, unknown) == 403
        assert status_of(made, made.token()) == 101


@pytest.mark.parametrize("status", [500, 302, 200])
def test_discovery_of_another_issuer_is_not_believed(make_setting: SettingMaker, status: int) -> None:
    with Issuer() as issuer:
        other = Issuer("other", port=issuer.port, keys=[tokens.RsaKey("other")])
        path = f"/{issuer.name}/.well-known/openid-configuration"

        def lie(handler: BaseHTTPRequestHandler) -> None:
            handler.path = f"/{other.name}/.well-known/openid-configuration"
            if status == 200:
                other.document(handler)
            else:
                behaviours.send(handler, b"{}", status, Location=other.url)

        issuer.answers[path] = lie
        issuer.answers[other.key_set_path] = other.document
        with make_setting(OPENIDC, issuer=issuer, ready=False) as made:
            token = tokens.token(other.key, tokens.claims(issuer.url))
            assert status_of(made, token) == 503


PARTS = ["body", "header field", "status line"]


@pytest.mark.parametrize("part", PARTS)
def test_a_download_ends_at_its_deadline_however_the_server_spreads_its_bytes(
    make_setting: SettingMaker, part: str
) -> None:
    with Issuer() as issuer:
        dripping = behaviours.Drip(part)
        issuer.answers[issuer.key_set_path] = dripping
        with make_setting(OPENIDC, issuer=issuer, ready=False) as made:
            assert status_of(made, made.token()) == 503
            wait_for(lambda: bool(dripping.broken_off))
            assert dripping.broken_off[0] is not None, "the proxy listened to the end"
            assert dripping.broken_off[0] < PATIENCE_SECONDS
            wait_for(lambda: len(dripping.broken_off) > 1)
            assert dripping.at_once == 1, "a download began before the one before it had ended"


def test_a_hanging_download_holds_up_nobody_whose_key_is_known(make_setting: SettingMaker) -> None:
    with make_setting(OPENIDC, staleKeys="20s") as made:
        made.issuer.answers[made.issuer.key_set_path] = behaviours.hang
        downloads = made.issuer.downloads()
        unknown = tokens.token(tokens.RsaKey("unknown"), tokens.claims(made.issuer.url))
        while made.issuer.downloads() == downloads:  # until a refresh is due again
            waiting = threading.Thread(target=statuses_of_many, args=(made, unknown))
            waiting.start()
            while waiting.is_alive() and made.issuer.downloads() == downloads:
                time.sleep(0.05)
        for _ in range(8):
            assert status_of(made, made.token()) == 101
        assert waiting.is_alive(), "nothing hung while the others were served"
        waiting.join()


def statuses_of_many(setting: Setting, token: str) -> list[int]:
    """Eight handshakes at a time, one for each worker at least."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(status_of, [setting] * 8, [token] * 8))


def wait_for(holds: Callable[[], bool], within: float = 40.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
