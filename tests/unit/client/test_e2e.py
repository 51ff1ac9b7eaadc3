"""`e2e` against a proxy that is right, and against one that is wrong in one way at a time."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

import pytest

from client.jwt import Jwt
from tests.unit.client.conftest import Outcome, RunClient, StartProxy
from tests.unit.client.fake_proxy import ISSUER, Behaviour, FakeProxy, Transform


def unsigned(claims: dict[str, object]) -> str:
    """A JWT with these claims and a signature that nobody made."""

    def encode(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{encode({'alg': 'RS256'})}.{encode(claims)}.{encode('signature')}"


def lines_of(outcome: Outcome, label: str) -> list[str]:
    """Names of the scenarios whose line begins with this label."""
    return re.findall(rf"^{label} +\d (\S+(?: \S+)*?) +\d+ ms", outcome.out, re.MULTILINE)


def assert_failed(outcome: Outcome, scenario: str, received: str) -> None:
    """The run failed, in this scenario, for this reason."""
    assert outcome.code == 1
    assert lines_of(outcome, "FAIL") == [scenario]
    assert received in outcome.out, outcome.out
    assert "expected: " in outcome.out


# A proxy that is right


def test_all_four_scenarios_pass_against_a_correct_proxy(proxy: FakeProxy, run_client: RunClient) -> None:
    outcome = run_client(proxy, "e2e")
    assert outcome.code == 0
    assert lines_of(outcome, "PASS") == ["configuration", "token", "echo", "invalid token"]
    assert "4 of 4 scenarios passed" in outcome.out
    assert outcome.err == ""


def test_all_four_scenarios_pass_over_ipv6(start_proxy: StartProxy, run_client: RunClient) -> None:
    assert run_client(start_proxy(host="::1"), "e2e").code == 0


def test_text_frames_from_the_proxy_are_bytes_like_any_other(start_proxy: StartProxy, run_client: RunClient) -> None:
    assert run_client(start_proxy(Behaviour(text_frames=True)), "e2e").code == 0


def test_message_boundaries_do_not_matter(start_proxy: StartProxy, run_client: RunClient) -> None:
    assert run_client(start_proxy(Behaviour(frame_sizes=(1,))), "e2e", "--lines", "20").code == 0


@pytest.mark.parametrize(("lines", "line_bytes"), [(1, 1), (1, 70_000), (3000, 1), (16, 1_000_000)])
def test_lines_of_any_number_and_size_are_sent(
    proxy: FakeProxy, run_client: RunClient, lines: int, line_bytes: int
) -> None:
    assert run_client(proxy, "e2e", "--lines", str(lines), "--line-bytes", str(line_bytes)).code == 0
    assert len(proxy.received) == lines * line_bytes
    assert proxy.received.count(b"\n") == lines
    assert proxy.received.endswith(b"\n")


def test_the_lines_contain_every_byte_value(proxy: FakeProxy, run_client: RunClient) -> None:
    run_client(proxy, "e2e", "--lines", "10", "--line-bytes", "10000")
    assert set(proxy.received) == set(range(256))


def test_the_handshake_is_what_the_contract_says(proxy: FakeProxy, run_client: RunClient) -> None:
    run_client(proxy, "e2e")
    headers = proxy.handshakes[0].request.headers
    assert headers["Authorization"] == f"Bearer {proxy.issued[0]}"
    assert headers["Sec-WebSocket-Protocol"] == "binary"
    assert headers["Sec-WebSocket-Version"] == "13"
    assert "Sec-WebSocket-Extensions" not in headers
    keys = {handshake.request.headers["Sec-WebSocket-Key"] for handshake in proxy.handshakes}
    assert len(keys) == len(proxy.handshakes)


def test_the_token_is_asked_for_with_the_given_credentials(proxy: FakeProxy, run_client: RunClient) -> None:
    run_client(proxy, "e2e", "--client-id", "my id", "--client-secret", "my&secret", "--code", "my=code")
    assert proxy.token_forms == [
        {"grant_type": "authorization_code", "client_id": "my id", "client_secret": "my&secret", "code": "my=code"}
    ]


def test_the_expected_issuer_may_be_named(start_proxy: StartProxy, run_client: RunClient) -> None:
    issuer = "https://id.example/tenant-1"
    assert run_client(start_proxy(Behaviour(issuer=issuer)), "e2e", "--issuer", issuer).code == 0


# Scenario 1: configuration


@pytest.mark.parametrize(
    "issuer",
    [
        "http://idp.example/other",
        "http://idp.example/awsexample2",
        "http://idp.example/awsexample/other",
        "http://awsexample",
        "awsexample",
        "ftp://idp.example/awsexample",
        "http://user@idp.example/awsexample",
        "http://idp.example:port/awsexample",
        "http://idp.example/x?y=/awsexample",
        "",
    ],
)
def test_another_issuer_fails(start_proxy: StartProxy, run_client: RunClient, issuer: str) -> None:
    outcome = run_client(start_proxy(Behaviour(issuer=issuer)), "e2e")
    assert_failed(outcome, "configuration", f"received: '{issuer}'")
    assert "awsexample" in outcome.out


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}?", "http://other.example/awsexample"])
def test_an_issuer_that_is_not_exactly_the_named_one_fails(
    start_proxy: StartProxy, run_client: RunClient, issuer: str
) -> None:
    outcome = run_client(start_proxy(Behaviour(issuer=issuer)), "e2e", "--issuer", ISSUER)
    assert_failed(outcome, "configuration", f"received: '{issuer}'")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://elsewhere.example:10080/awsexample/token",
        "https://mock-servers.secure-proxy.internal:10080/awsexample/token",
        "http://mock-servers.secure-proxy.internal:10081/awsexample/token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample2/token",
        "http://mock-servers.secure-proxy.internal:10080/token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/../token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/%2e%2e/token",
        "http://mock-servers.secure-proxy.internal:10080/awsexample/%2e%2e%2ftoken",
        "http://mock-servers.secure-proxy.internal:10080@elsewhere.example/awsexample/token",
        "/awsexample/token",
        7,
    ],
)
@pytest.mark.parametrize("options", [(), ("--issuer", ISSUER)])
def test_an_endpoint_that_is_not_under_the_issuer_fails(
    start_proxy: StartProxy, run_client: RunClient, endpoint: object, options: tuple[str, ...]
) -> None:
    proxy = start_proxy(Behaviour(configuration={"token_endpoint": endpoint}))
    outcome = run_client(proxy, "e2e", *options)
    assert_failed(outcome, "configuration", f"received: {endpoint!r}")
    assert "expected: token_endpoint under the issuer" in outcome.out


def test_every_endpoint_is_checked_not_only_the_known_ones(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(configuration={"userinfo_endpoint": "https://elsewhere.example/awsexample/me"}))
    assert_failed(run_client(proxy, "e2e"), "configuration", "elsewhere.example")


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_a_missing_endpoint_fails(start_proxy: StartProxy, run_client: RunClient, name: str) -> None:
    proxy = start_proxy(Behaviour(configuration={name: None}))
    assert_failed(run_client(proxy, "e2e"), "configuration", "a configuration without it")


@pytest.mark.parametrize(
    ("status", "body", "received"),
    [
        (500, b"oops", "HTTP 500"),
        (302, b"{}", "HTTP 302"),
        (204, b"", "HTTP 204"),
        (200, b"<html>", "<html>"),
        (200, b"[]", "[]"),
        (200, b"\xff\xfe", "\\xff"),
        (200, b"[" * 100_000, "[[["),
        (200, b'"' + b"x" * 2_000_000 + b'"', "a longer one"),
    ],
)
@pytest.mark.parametrize(("path", "scenario"), [("/configuration", "configuration"), ("/token", "token")])
def test_an_unusable_answer_of_the_oauth_listener_fails(
    start_proxy: StartProxy, run_client: RunClient, path: str, scenario: str, status: int, body: bytes, received: str
) -> None:
    outcome = run_client(start_proxy(Behaviour(answers={path: (status, body)})), "e2e")
    assert_failed(outcome, scenario, received)


# Scenario 2: token


def test_a_token_of_another_issuer_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(claims={"iss": "http://other.example/awsexample"}))
    assert_failed(run_client(proxy, "e2e"), "token", "iss 'http://other.example/awsexample'")


@pytest.mark.parametrize("exp", [None, "tomorrow", True, float("inf"), 10**400])
def test_a_token_without_an_expiry_fails(start_proxy: StartProxy, run_client: RunClient, exp: object) -> None:
    proxy = start_proxy(Behaviour(token_answer={"access_token": unsigned({"iss": ISSUER, "exp": exp})}))
    assert_failed(run_client(proxy, "e2e"), "token", "without a numeric exp")


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        ({"access_token": None}, "an answer without it"),
        ({"access_token": 5}, "an answer without it"),
        ({"access_token": "opaque"}, "not three base64url segments"),
        ({"access_token": "a.b\x1b[2J.c"}, "not three base64url segments"),
        ({"access_token": "e30.e30."}, "not three base64url segments"),
        ({"access_token": "AAAA.e30.AAAA"}, "the header is not a JSON object"),
        ({"access_token": "e30.W10.AAAA"}, "the claims is not a JSON object"),
        ({"access_token": "e30.e30.A"}, "the signature is not base64url"),
        ({"token_type": "mac"}, "'mac'"),
        ({"token_type": None}, "None"),
    ],
)
def test_an_answer_without_a_usable_token_fails(
    start_proxy: StartProxy, run_client: RunClient, answer: dict[str, object], received: str
) -> None:
    assert_failed(run_client(start_proxy(Behaviour(token_answer=answer)), "e2e"), "token", received)


def test_the_token_type_is_case_insensitive(start_proxy: StartProxy, run_client: RunClient) -> None:
    assert run_client(start_proxy(Behaviour(token_answer={"token_type": "bearer"})), "e2e").code == 0


# Scenario 3: echo


def changed_at(offset: int, change: Callable[[bytes], bytes]) -> Callable[[], Transform]:
    """An echo that applies `change` to the byte at this offset of the stream."""

    def make() -> Transform:
        position = 0

        def transform(data: bytes) -> bytes:
            nonlocal position
            index = offset - position
            position += len(data)
            if 0 <= index < len(data):
                return data[:index] + change(data[index : index + 1]) + data[index + 1 :]
            return data

        return transform

    return make


def swapped_lines() -> Transform:
    """An echo that sends the second line before the first. Lines come as one message each."""
    first: list[bytes] = []

    def transform(data: bytes) -> bytes:
        if not first:
            first.append(data)
            return b""
        if len(first) == 1:
            first.append(data)
            return data + first[0]
        return data

    return transform


@pytest.mark.parametrize("offset", [0, 63, 64, 3000, 6399])
def test_one_altered_byte_fails_with_its_offset(start_proxy: StartProxy, run_client: RunClient, offset: int) -> None:
    alter = changed_at(offset, lambda byte: bytes([byte[0] ^ 1]))
    outcome = run_client(start_proxy(Behaviour(transform=alter)), "e2e")
    assert_failed(outcome, "echo", f"first difference at offset {offset}: ")
    assert f"at offset {offset} (line {offset // 64 + 1})" in outcome.out


def test_one_lost_byte_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    # Offset 3199 is a line's newline; the byte after it never is one.
    outcome = run_client(start_proxy(Behaviour(transform=changed_at(3199, lambda _: b""))), "e2e")
    assert_failed(outcome, "echo", "first difference at offset 3199: ")


def test_a_lost_last_byte_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(transform=changed_at(6399, lambda _: b"")))
    assert_failed(run_client(proxy, "e2e", "--timeout", "0.5"), "echo", "6399 of 6400 bytes")


def test_one_extra_byte_within_the_stream_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    extra = changed_at(3199, lambda byte: b"\n" + byte)
    assert_failed(
        run_client(start_proxy(Behaviour(transform=extra)), "e2e"), "echo", "first difference at offset 3200: 0a"
    )


def test_one_extra_byte_at_the_end_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    extra = changed_at(6399, lambda byte: byte + b"!")
    assert_failed(run_client(start_proxy(Behaviour(transform=extra)), "e2e"), "echo", "extra byte at offset 6400: 21")


def test_one_extra_byte_in_a_frame_of_its_own_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    extra = changed_at(6399, lambda byte: byte + b"!")
    proxy = start_proxy(Behaviour(transform=extra, frame_sizes=(1,)))
    assert_failed(run_client(proxy, "e2e"), "echo", "extra byte at offset 6400: 21")


def test_reordered_lines_fail(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(transform=lambda: swapped_lines())), "e2e")
    assert_failed(outcome, "echo", "first difference at offset ")


def test_a_proxy_that_never_echoes_fails_in_time(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(transform=lambda: lambda _: b""))
    outcome = run_client(proxy, "e2e", "--timeout", "0.5")
    assert_failed(outcome, "echo", "0 of 6400 bytes, all of them right, when the time ran out")


@pytest.mark.parametrize("subprotocol", [None, "base64"])
def test_another_subprotocol_fails(start_proxy: StartProxy, run_client: RunClient, subprotocol: str | None) -> None:
    outcome = run_client(start_proxy(Behaviour(subprotocol=subprotocol)), "e2e")
    assert_failed(outcome, "echo", "accepted (101), but")


def test_a_wrong_accept_header_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(accept_header="AAAA")), "e2e")
    assert_failed(outcome, "echo", "Sec-WebSocket-Accept")


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "Authorization header"), (403, "nginx-error.log"), (502, "TCP application"), (418, "")]
)
def test_a_refused_valid_token_fails_with_status_and_remedy(
    start_proxy: StartProxy, run_client: RunClient, status: int, remedy: str
) -> None:
    outcome = run_client(start_proxy(Behaviour(valid_refusal=status)), "e2e")
    assert_failed(outcome, "echo", f"refused with {status} ")
    assert remedy in outcome.out


def test_a_redirected_handshake_fails_and_is_not_followed(start_proxy: StartProxy, run_client: RunClient) -> None:
    target = start_proxy()
    location = f"wss://127.0.0.1:{target.wss_port}/"
    outcome = run_client(start_proxy(Behaviour(valid_refusal=302, location=location)), "e2e")
    assert_failed(outcome, "echo", "refused with 302 Found")
    assert target.handshakes == []


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4401])
def test_a_session_that_the_proxy_ends_early_fails_with_its_code(
    start_proxy: StartProxy, run_client: RunClient, code: int
) -> None:
    outcome = run_client(start_proxy(Behaviour(close_after=(640, code, "bye"))), "e2e")
    assert_failed(outcome, "echo", f"closed by the proxy, close code {code} (bye)")


def test_an_early_close_without_the_end_of_the_connection_is_named(
    start_proxy: StartProxy, run_client: RunClient
) -> None:
    proxy = start_proxy(Behaviour(close_after=(640, 1011, ""), linger_after_close=True))
    outcome = run_client(proxy, "e2e", "--timeout", "0.5")
    assert_failed(outcome, "echo", "when the time ran out; close code 1011 came, but not the connection's end")


@pytest.mark.parametrize(
    ("behaviour", "received"),
    [
        (Behaviour(close_answer=b"\x03\xf3"), "close code 1011"),
        (Behaviour(close_answer=b""), "close frame without a code"),
        (Behaviour(vanish_on_close=True), "no close frame received"),
        (Behaviour(linger_after_close=True), "did not end the connection in time"),
    ],
)
def test_a_close_that_is_not_clean_fails(
    start_proxy: StartProxy, run_client: RunClient, behaviour: Behaviour, received: str
) -> None:
    outcome = run_client(start_proxy(behaviour), "e2e", "--timeout", "1")
    assert_failed(outcome, "echo", received)
    assert "expected: a clean close with code 1000" in outcome.out


# Scenario 4: invalid token


def test_the_invalid_tokens_differ_in_signature_alone_or_are_garbage(proxy: FakeProxy, run_client: RunClient) -> None:
    run_client(proxy, "e2e")
    valid, altered, garbage = (handshake.token for handshake in proxy.handshakes)
    assert garbage == "garbage"
    assert altered.rpartition(".")[0] == valid.rpartition(".")[0]
    before, after = Jwt.parse(valid).signature, Jwt.parse(altered).signature
    assert len(before) == len(after)
    assert sum((a ^ b).bit_count() for a, b in zip(before, after, strict=True)) == 1


def test_an_accepted_invalid_token_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(accept_any_token=True)), "e2e")
    assert_failed(outcome, "invalid token", "received: accepted (101 Switching Protocols)")
    assert "expected: the same token with one bit of its signature flipped refused with 403 Forbidden" in outcome.out


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 502, 503])
def test_a_refusal_with_another_status_fails_and_names_it(
    start_proxy: StartProxy, run_client: RunClient, status: int
) -> None:
    outcome = run_client(start_proxy(Behaviour(refusal=status)), "e2e")
    assert_failed(outcome, "invalid token", f"received: refused with {status} ")


def test_a_refusal_by_redirect_fails_and_is_not_followed(start_proxy: StartProxy, run_client: RunClient) -> None:
    target = start_proxy()
    behaviour = Behaviour(refusal=307, location=f"wss://127.0.0.1:{target.wss_port}/")
    assert_failed(run_client(start_proxy(behaviour), "e2e"), "invalid token", "refused with 307 ")
    assert target.handshakes == []


def test_a_cut_connection_is_no_refusal(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(reset_invalid=True)), "e2e")
    assert_failed(outcome, "invalid token", "received: connection error: ")


# Runs that cannot go on


def test_scenarios_without_what_they_need_are_not_run_and_not_passed(
    start_proxy: StartProxy, run_client: RunClient
) -> None:
    outcome = run_client(start_proxy(Behaviour(issuer="http://idp.example/other")), "e2e")
    assert outcome.code == 1
    assert lines_of(outcome, "NOT RUN") == ["token", "echo", "invalid token"]
    assert lines_of(outcome, "PASS") == []
    assert "0 of 4 scenarios passed, 1 failed, 3 not run" in outcome.out


def test_a_proxy_that_refuses_every_token_does_not_pass_the_last_scenario(
    start_proxy: StartProxy, run_client: RunClient
) -> None:
    outcome = run_client(start_proxy(Behaviour(valid_refusal=403)), "e2e")
    assert_failed(outcome, "echo", "refused with 403 Forbidden")
    assert lines_of(outcome, "NOT RUN") == ["invalid token"]
    assert "would prove nothing" in outcome.out


def test_the_last_scenario_runs_when_the_echo_alone_is_wrong(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(close_answer=b"")), "e2e")
    assert lines_of(outcome, "FAIL") == ["echo"]
    assert lines_of(outcome, "PASS") == ["configuration", "token", "invalid token"]
    assert outcome.code == 1


@pytest.mark.parametrize(
    ("behaviour", "scenario"),
    [
        (Behaviour(silent_paths=frozenset({"/configuration"})), "configuration"),
        (Behaviour(silent_paths=frozenset({"/token"})), "token"),
        (Behaviour(silent_handshake=True), "echo"),
    ],
)
def test_a_listener_that_never_answers_fails_in_time(
    start_proxy: StartProxy, run_client: RunClient, behaviour: Behaviour, scenario: str
) -> None:
    outcome = run_client(start_proxy(behaviour), "e2e", "--timeout", "0.5")
    assert_failed(outcome, scenario, "nothing until the time ran out")
    assert "within 0.5 s" in outcome.out
