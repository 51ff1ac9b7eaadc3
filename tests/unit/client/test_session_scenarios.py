"""Scenarios 3 and 4 of `e2e`: a WSS listener that is wrong in one way at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from client.jwt import Jwt
from tests.unit.client.behaviour import Behaviour, Transform
from tests.unit.client.conftest import RunClient, StartProxy
from tests.unit.client.fake_proxy import FakeProxy
from tests.unit.client.outcome import assert_failed

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


def test_one_extra_byte_that_comes_late_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(late_byte_after=6400)), "e2e")
    assert_failed(outcome, "echo", "extra byte at offset 6400: 21")


def test_reordered_lines_fail(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(transform=lambda: swapped_lines())), "e2e")
    assert_failed(outcome, "echo", "first difference at offset ")


def test_a_proxy_that_never_echoes_fails_in_time(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(transform=lambda: lambda _: b""))
    started = time.monotonic()
    outcome = run_client(proxy, "e2e", "--timeout", "0.5")
    assert_failed(outcome, "echo", "0 of 6400 bytes, all of them right, when the time ran out")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("subprotocol", [None, "base64"])
def test_another_subprotocol_fails(start_proxy: StartProxy, run_client: RunClient, subprotocol: str | None) -> None:
    outcome = run_client(start_proxy(Behaviour(subprotocol=subprotocol)), "e2e")
    assert_failed(outcome, "echo", "accepted (101), but")


def test_a_wrong_accept_header_fails(start_proxy: StartProxy, run_client: RunClient) -> None:
    outcome = run_client(start_proxy(Behaviour(accept_header="AAAA")), "e2e")
    assert_failed(outcome, "echo", "Sec-WebSocket-Accept")


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "Authorization header"), (403, "audit.log"), (502, "TCP application"), (418, "")]
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


def test_a_missing_close_passes_when_it_is_allowed_and_is_said(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(vanish_on_close=True))
    outcome = run_client(proxy, "e2e", "--timeout", "1", "--allow-missing-close")
    assert outcome.code == 0, outcome.out
    assert "ended without a close frame, which was allowed" in outcome.out


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(close_answer=b"\x03\xf3"),
        Behaviour(linger_after_close=True),
        Behaviour(close_after=(640, 1000, "")),
    ],
)
def test_allowing_a_missing_close_allows_nothing_else(
    start_proxy: StartProxy, run_client: RunClient, behaviour: Behaviour
) -> None:
    outcome = run_client(start_proxy(behaviour), "e2e", "--timeout", "1", "--allow-missing-close")
    assert outcome.code == 1, outcome.out


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
