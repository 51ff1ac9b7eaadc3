"""The attack matrix: each row is refused with its status, leaves its reason in the audit log and nothing secret in any,
and the application sees no connection. For both providers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.proxy.auth import tokens
from tests.proxy.auth.conftest import EXTERNAL, OPENIDC, PROVIDERS, Setting, SettingMaker
from tests.proxy.auth.issuer import Issuer
from tests.proxy.auth.proxy import Answer

OTHER_KEY = tokens.RsaKey("awsexample-1")
RULES: dict[str, Any] = {
    "audiences": ["orders"],
    "requiredScopes": ["connect"],
    "requiredClaims": [
        {"claim": "department", "equals": "sales"},
        {"claim": "level", "oneOf": [3, 4]},
        {"claim": "groups", "contains": "traders"},
    ],
}
GOOD: dict[str, Any] = {"aud": "orders", "department": "sales", "level": 3, "groups": ["traders", "staff"]}


@pytest.fixture(scope="module", params=PROVIDERS)
def setting(request: pytest.FixtureRequest, make_setting: SettingMaker) -> Iterator[Setting]:
    with make_setting(request.param, **RULES) as made:
        yield made


class Row(NamedTuple):
    """An attack: how it is made, and what it must come to. `reason` may differ by provider."""

    attempt: Callable[[Setting], Answer]
    status: int
    reason: str | dict[str, str]


def claims(setting: Setting, **changes: Any) -> dict[str, Any]:
    return tokens.claims(setting.issuer.url, **{**GOOD, **changes})


def with_claims(**changes: Any) -> Callable[[Setting], Answer]:
    return lambda setting: setting.proxy.open(tokens.token(setting.issuer.key, claims(setting, **changes)))


def with_header(**members: Any) -> Callable[[Setting], Answer]:
    return lambda setting: setting.proxy.open(tokens.token(setting.issuer.key, claims(setting), **members))


def with_text(make: Callable[[str], str]) -> Callable[[Setting], Answer]:
    """Do something to the text of a good token."""
    return lambda setting: setting.proxy.open(make(good(setting)))


def with_payload(make: Callable[[str], str]) -> Callable[[Setting], Answer]:
    """Sign a payload whose JSON text was changed."""
    return lambda setting: setting.proxy.open(tokens.token(setting.issuer.key, make(json.dumps(claims(setting)))))


def good(setting: Setting) -> str:
    return tokens.token(setting.issuer.key, claims(setting))


def unsigned(spelling: str) -> Callable[[Setting], Answer]:
    def attempt(setting: Setting) -> Answer:
        head = tokens.segment({"alg": spelling, "typ": "JWT", "kid": setting.issuer.key.kid})
        return setting.proxy.open(f"{head}.{tokens.segment(claims(setting))}.")

    return attempt


def unsigned_with_signature(spelling: str) -> Callable[[Setting], Answer]:
    def attempt(setting: Setting) -> Answer:
        head = tokens.segment({"alg": spelling, "typ": "JWT", "kid": setting.issuer.key.kid})
        return setting.proxy.open(f"{head}.{tokens.segment(claims(setting))}.{good(setting).split('.')[2]}")

    return attempt


def public_key_as_secret(setting: Setting) -> Answer:
    key = setting.issuer.key
    return setting.proxy.open(tokens.hmac_token(key.public_pem(), claims(setting), key.kid))


def other_key(setting: Setting) -> Answer:
    return setting.proxy.open(tokens.token(OTHER_KEY, claims(setting)))


def flipped_bit(text: str) -> str:
    head, _, signature = text.rpartition(".")
    damaged = bytearray(tokens.decode(signature))
    damaged[100] ^= 1
    return f"{head}.{tokens.encode(bytes(damaged))}"


def truncated(text: str) -> str:
    head, _, signature = text.rpartition(".")
    return f"{head}.{tokens.encode(tokens.decode(signature)[:-1])}"


def swapped_payload(setting: Setting) -> Answer:
    head, _, signature = good(setting).split(".")
    return setting.proxy.open(f"{head}.{tokens.segment(claims(setting, sub='mallory'))}.{signature}")


def two_headers(setting: Setting) -> Answer:
    return setting.proxy.open(good(setting), fields=[("Authorization", f"Bearer {good(setting)}")])


def in_query(setting: Setting) -> Answer:
    return setting.proxy.open(path=f"/?access_token={good(setting)}")


def of_size(size: int) -> Callable[[Setting], Answer]:
    """A token signed by another key that has about this many bytes."""
    return lambda setting: setting.proxy.open(
        tokens.token(OTHER_KEY, claims(setting, filler="x" * (size * 3 // 4 - 700)))
    )


NOT_SIGNED = "not a signed JSON Web Token"
ALGORITHM = "algorithm is not on the allow-list"
SIGNATURE = {
    OPENIDC: "signature is not by the issuer's key",
    EXTERNAL: "authorizer refused the token with 403: signature not by the issuer",
}
UNKNOWN_KEY = {
    OPENIDC: "token names a key that the issuer does not have",
    EXTERNAL: "authorizer refused the token with 403: unknown key id",
}
KID = "header has no usable 'kid'"
AUDIENCE = "claim 'aud' has none of the configured audiences"
NO_EXPIRY = "claim 'exp' is missing or not a time"
NOW = int(time.time())

MATRIX: dict[str, Row] = {
    "no token": Row(lambda s: s.proxy.open(), 401, "no token"),
    "empty header": Row(lambda s: s.proxy.open(fields=[("Authorization", "")]), 401, "no token"),
    "empty token": Row(lambda s: s.proxy.open(""), 401, "empty bearer token"),
    "another scheme": Row(lambda s: s.proxy.open(fields=[("Authorization", "Basic YTpi")]), 401, "no bearer token"),
    "not a JWT": Row(lambda s: s.proxy.open("opaque"), 403, NOT_SIGNED),
    "not a token's syntax": Row(lambda s: s.proxy.open("a b;c"), 403, "not a bearer token's syntax"),
    "header is not JSON": Row(
        with_text(lambda t: f"{tokens.encode(b'{]')}.{t.split('.', 1)[1]}"), 403, "header is not JSON"
    ),
    "header is a list": Row(
        with_text(lambda t: f"{tokens.segment('[]')}.{t.split('.', 1)[1]}"), 403, "header is not a JSON object"
    ),
    "payload is text": Row(with_payload(lambda _: '"text"'), 403, "payload is not a JSON object"),
    "loose base64url bits": Row(with_text(lambda t: t[:-1] + chr(ord(t[-1]) + 1)), 403, "signature is not base64url"),
    **{
        f"alg {spelling} without signature": Row(unsigned(spelling), 403, NOT_SIGNED)
        for spelling in ("none", "None", "NONE", "nOnE")
    },
    **{
        f"alg {spelling!r} with a signature": Row(unsigned_with_signature(spelling), 403, ALGORITHM)
        for spelling in ("none", "NONE", "nOnE", "", "RS256 ", "rs256")
    },
    "alg missing": Row(with_header(alg=None), 403, ALGORITHM),
    "alg is a list": Row(with_header(alg=["RS256"]), 403, ALGORITHM),
    "alg RS512, not allowed here": Row(with_header(algorithm="RS512"), 403, ALGORITHM),
    "HS256 signed with the public key": Row(public_key_as_secret, 403, ALGORITHM),
    "kid unknown": Row(with_header(kid="unknown"), 403, UNKNOWN_KEY),
    "kid missing": Row(with_header(kid=None), 403, KID),
    "kid empty": Row(with_header(kid=""), 403, KID),
    "kid is a number": Row(with_header(kid=1), 403, KID),
    "kid of 300 bytes": Row(with_header(kid="k" * 300), 403, KID),
    "kid is a path": Row(with_header(kid="../../../../dev/null"), 403, UNKNOWN_KEY),
    "kid is an injection": Row(with_header(kid="x' UNION SELECT 'key"), 403, UNKNOWN_KEY),
    **{
        f"{name} in the header": Row(with_header(**{name: value}), 403, f"header has '{name}'")
        for name, value in {
            "jwk": OTHER_KEY.jwk(),
            "jku": "http://127.0.0.1/jwks",
            "x5u": "http://127.0.0.1/chain",
            "x5c": ["AAAA"],
            "crit": ["exp"],
            "b64": False,
            "zip": "DEF",
        }.items()
    },
    "another type of JWT": Row(with_header(typ="logout+jwt"), 403, "header has another 'typ' than an access token's"),
    "signature stripped": Row(with_text(lambda t: t.rpartition(".")[0]), 403, NOT_SIGNED),
    "signature empty": Row(with_text(lambda t: t.rpartition(".")[0] + "."), 403, NOT_SIGNED),
    "signature truncated": Row(with_text(truncated), 403, SIGNATURE),
    "signature with a bit flipped": Row(with_text(flipped_bit), 403, SIGNATURE),
    "payload of another token": Row(swapped_payload, 403, SIGNATURE),
    "another issuer's key under our kid": Row(other_key, 403, SIGNATURE),
    "issuer wrong": Row(with_claims(iss="http://127.0.0.1/other"), 403, "claim 'iss' is not a configured issuer"),
    "issuer missing": Row(with_claims(iss=None), 403, "claim 'iss' is not a configured issuer"),
    "issuer is a list": Row(with_claims(iss=["x"]), 403, "claim 'iss' is not a configured issuer"),
    "audience wrong": Row(with_claims(aud="billing"), 403, AUDIENCE),
    "audience missing": Row(with_claims(aud=None), 403, AUDIENCE),
    "audience a list without ours": Row(with_claims(aud=["billing", "mail"]), 403, AUDIENCE),
    "audience an object": Row(with_claims(aud={"orders": True}), 403, AUDIENCE),
    "expired": Row(with_claims(exp=NOW - 31), 403, "token has expired"),
    "not yet valid": Row(with_claims(nbf=NOW + 3600), 403, "token is not valid yet"),
    "no exp": Row(with_claims(exp=None), 403, NO_EXPIRY),
    "exp as text": Row(with_claims(exp=str(NOW + 300)), 403, NO_EXPIRY),
    "exp beyond all numbers": Row(with_payload(lambda t: t.replace('"exp": ', '"exp": 1e999, "x": ')), 403, NO_EXPIRY),
    "exp negative": Row(with_claims(exp=-1), 403, NO_EXPIRY),
    "exp NaN": Row(with_payload(lambda t: t.replace('"exp": ', '"exp": NaN, "x": ')), 403, "payload is not JSON"),
    "nbf as text": Row(with_claims(nbf="now"), 403, "claim 'nbf' is not a time"),
    "sub is a number": Row(with_claims(sub=7), 403, "claim 'sub' is not a usable subject"),
    "sub with a line break": Row(with_claims(sub="alice\nforged"), 403, "claim 'sub' is not a usable subject"),
    "scope missing": Row(with_claims(scope="read"), 403, "scope 'connect' is missing"),
    "no scope at all": Row(with_claims(scope=None), 403, "scope 'connect' is missing"),
    "scope as part of a word": Row(with_claims(scope="connected"), 403, "scope 'connect' is missing"),
    "claim of another value": Row(with_claims(department="hr"), 403, "claim 'department' is not as required"),
    "claim missing": Row(with_claims(department=None), 403, "claim 'department' is not as required"),
    "claim as a list": Row(with_claims(department=["sales"]), 403, "claim 'department' is not as required"),
    "claim of another type": Row(with_claims(level="3"), 403, "claim 'level' is not as required"),
    "claim not among several": Row(with_claims(level=5), 403, "claim 'level' is not as required"),
    "list without the member": Row(with_claims(groups=["staff"]), 403, "claim 'groups' is not as required"),
    "text instead of a list": Row(with_claims(groups="traders"), 403, "claim 'groups' is not as required"),
    "member twice": Row(with_payload(lambda t: t[:-1] + ', "sub": "root"}'), 403, "payload has a member twice"),
    "member twice, once escaped": Row(
        with_payload(lambda t: t[:-1] + ', "s\\u0075b": "root"}'), 403, "payload has a member twice"
    ),
    "header member twice": Row(
        with_text(
            lambda t: tokens.segment('{"alg":"none","alg":"RS256","kid":"awsexample-1"}') + "." + t.split(".", 1)[1]
        ),
        403,
        "header has a member twice",
    ),
    "payload is not UTF-8": Row(
        with_text(lambda t: ".".join([t.split(".")[0], tokens.encode(b'{"sub":"\xff"}'), t.split(".")[2]])),
        403,
        "payload is not a JSON object",
    ),
    "token of 16 KB": Row(
        of_size(16000), 403, {**SIGNATURE, EXTERNAL: "authorizer refused the token with 403: longer than"}
    ),
    "token of more than 16 KB": Row(of_size(18000), 403, "token of "),
    # NGINX itself refuses these two, as no HTTP request that it would read.
    "two Authorization headers": Row(two_headers, 400, "more than one Authorization header"),
    "token of 1 MB": Row(of_size(1_000_000), 431, "too large"),
    "token in the query": Row(in_query, 401, "no token"),
}


@pytest.mark.parametrize("name", MATRIX)
def test_attack_is_refused_logged_and_kept_from_the_application(setting: Setting, name: str) -> None:
    row = MATRIX[name]
    records, connections = len(setting.proxy.audit()), setting.proxy.backend.accepted
    answer = row.attempt(setting)
    assert answer.status == row.status
    record = setting.proxy.audited("refusal", after=records)
    reason = row.reason if isinstance(row.reason, str) else row.reason[setting.provider]
    assert record["status"] == row.status
    assert record["reason"].startswith(reason)
    assert "subject" not in record, "a subject that was not verified is not one"
    assert setting.proxy.backend.accepted == connections


def test_the_token_that_the_attacks_are_made_from_is_accepted(setting: Setting) -> None:
    answer = setting.proxy.open(good(setting))
    assert answer.status == 101
    answer.socket.close()


@pytest.mark.parametrize("aud", ["orders", ["orders"], ["billing", "orders"]])
def test_an_audience_among_several_is_accepted(setting: Setting, aud: object) -> None:
    answer = setting.proxy.open(tokens.token(setting.issuer.key, claims(setting, aud=aud)))
    assert answer.status == 101
    answer.socket.close()


def test_a_token_inside_the_clock_skew_is_accepted(setting: Setting) -> None:
    now = int(time.time())
    answer = setting.proxy.open(tokens.token(setting.issuer.key, claims(setting, exp=now - 10, nbf=now + 10)))
    assert answer.status == 101
    answer.socket.close()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_verdict_does_not_outlive_the_rules_it_was_made_under(provider: str, make_setting: SettingMaker) -> None:
    with make_setting(provider) as made:
        token = made.token()
        for _ in range(4):
            answer = made.proxy.open(token)
            assert answer.status == 101
            answer.socket.close()
        made.proxy.reload(requiredScopes=["admin"])
        assert made.proxy.open(token).status == 403


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_token_cached_for_one_route_does_not_open_another(provider: str, make_setting: SettingMaker) -> None:
    routes = [{"path": "/orders", "requiredScopes": ["connect"]}, {"path": "/admin", "requiredScopes": ["admin"]}]
    with make_setting(provider, routes=routes) as made:
        token = made.token()
        for _ in range(4):
            answer = made.proxy.open(token, path="/orders/stream")
            assert answer.status == 101
            answer.socket.close()
        time.sleep(0.5)  # until the application has counted them
        records, connections = len(made.proxy.audit()), made.proxy.backend.accepted
        for path in ("/admin", "/admin/", "//admin", "/orders/../admin", "/%61dmin"):
            assert made.proxy.open(token, path=path).status == 403
        time.sleep(0.2)
        refusals = [record for record in made.proxy.audit()[records:] if record["event"] == "refusal"]
        assert {record["reason"] for record in refusals} == {"route /admin: scope 'admin' is missing"}
        assert made.proxy.open(token, path="/ordersandmore").status == 403
        assert made.proxy.open(token, path="/").status == 403
        assert made.proxy.backend.accepted == connections


@pytest.mark.source
def test_each_issuer_has_its_own_rules(make_setting: SettingMaker) -> None:
    with Issuer("partner", keys=[tokens.RsaKey("partner-1")]) as partner:
        further = [{"issuer": partner.url, "requiredScopes": ["partner"]}]
        with make_setting(OPENIDC, furtherIssuers=further, requiredScopes=["connect"]) as made:
            ours = tokens.token(made.issuer.key, tokens.claims(made.issuer.url, scope="connect"))
            theirs = tokens.token(partner.key, tokens.claims(partner.url, scope="partner"))
            crossed = tokens.token(partner.key, tokens.claims(made.issuer.url, scope="connect partner"))
            lacking = tokens.token(partner.key, tokens.claims(partner.url, scope="connect"))
            statuses = [made.proxy.open(token).status for token in (ours, theirs, crossed, lacking)]
            assert statuses == [101, 101, 403, 403]
