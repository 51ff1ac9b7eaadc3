"""`e2e` as a whole: against a proxy that is right, and runs that cannot go on."""

from __future__ import annotations

import time

import pytest

from tests.unit.client.behaviour import Behaviour
from tests.unit.client.conftest import RunClient, StartProxy
from tests.unit.client.fake_proxy import FakeProxy
from tests.unit.client.outcome import assert_failed, lines_of

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


@pytest.mark.parametrize(("lines", "line_bytes"), [(1, 1), (1, 70_000), (3000, 1), (8, 1_000_000)])
def test_lines_of_any_number_and_size_are_sent(
    proxy: FakeProxy, run_client: RunClient, lines: int, line_bytes: int
) -> None:
    sizes = ("--lines", str(lines), "--line-bytes", str(line_bytes))
    assert run_client(proxy, "e2e", "--timeout", "120", *sizes).code == 0
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
    started = time.monotonic()
    outcome = run_client(start_proxy(behaviour), "e2e", "--timeout", "0.5")
    assert_failed(outcome, scenario, "nothing until the time ran out")
    assert "within 0.5 s" in outcome.out
    assert time.monotonic() - started < 5
