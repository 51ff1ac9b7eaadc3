"""What reaches the terminal: readable, escaped, without secrets; and as JSON by the schema."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from client.terminal import Terminal, escape
from tests.unit.client.behaviour import Behaviour
from tests.unit.client.conftest import RunClient, StartProxy
from tests.unit.client.fake_proxy import FakeProxy
from tests.unit.client.outcome import Outcome

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\x7f\u202e\u2028PASS"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain ünïcode ✓", "plain ünïcode ✓"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x00\x7f\x80\x9b", "\\x00\\x7f\\x80\\x9b"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("\ud800", "\\ud800"),
        ("\\x1b", "\\\\x1b"),
    ],
)
def test_text_is_escaped_unless_it_is_printable(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def assert_harmless(text: str) -> None:
    """No control character but the newlines that end our own lines."""
    assert all(char.isprintable() or char == "\n" for char in text), repr(text)
    assert not any(line.startswith("PASS") and "owned" in line for line in text.splitlines())


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(issuer=f"http://idp.example/{HOSTILE}"),
        Behaviour(configuration={"evil" + HOSTILE + "_endpoint": HOSTILE}),
        Behaviour(answers={"/configuration": (500, HOSTILE.encode())}),
        Behaviour(answers={"/token": (200, HOSTILE.encode())}),
        Behaviour(token_answer={"token_type": HOSTILE}),
        Behaviour(claims={"iss": HOSTILE}),
        Behaviour(refusal=500, refusal_body=lambda _: HOSTILE),
        Behaviour(close_after=(64, 1011, HOSTILE)),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_control_characters_from_the_network_never_reach_the_terminal(
    start_proxy: StartProxy, run_client: RunClient, behaviour: Behaviour, options: tuple[str, ...]
) -> None:
    outcome = run_client(start_proxy(behaviour), "e2e", *options)
    assert outcome.code == 1
    assert "x1b[2J" in outcome.out or "u001b[2J" in outcome.out
    assert_harmless(outcome.out + outcome.err)


def test_the_configuration_is_printed_escaped(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(issuer="http://idp.example/\x1b[2J/awsexample"))
    outcome = run_client(proxy, "configuration")
    assert outcome.code == 0
    assert "\\x1b[2J" in outcome.out
    assert_harmless(outcome.out)


@pytest.mark.parametrize(
    "part",
    [
        lambda token: token,
        lambda token: token[:60],
        lambda token: token.split(".")[1],
        lambda token: token.split(".")[2],
        lambda token: token.split(".")[2][:60],
    ],
)
@pytest.mark.parametrize("refused", ["valid", "invalid"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_token_never_appears_even_if_the_proxy_sends_it_back(
    start_proxy: StartProxy,
    run_client: RunClient,
    part: Callable[[str], str],
    refused: str,
    options: tuple[str, ...],
) -> None:
    def body(token: str) -> str:
        return f"bad token {part(token)} bad" if "." in token else "bad"

    refuses_valid = Behaviour(valid_refusal=500, refusal_body=body)
    refuses_wrongly = Behaviour(refusal=500, refusal_body=body)
    proxy = start_proxy(refuses_valid if refused == "valid" else refuses_wrongly)
    outcome = run_client(proxy, "e2e", *options)
    assert outcome.code == 1
    assert "bad token <redacted>" in outcome.out
    tokens = {handshake.token for handshake in proxy.handshakes if "." in handshake.token}
    assert tokens
    for token in tokens:
        for piece in (token, *token.split(".")):
            assert piece[:16] not in outcome.out + outcome.err


def test_the_client_secret_never_appears(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(answers={"/token": (400, b"wrong secret: correct-horse-battery")}))
    outcome = run_client(proxy, "e2e", "--client-secret", "correct-horse-battery")
    assert "wrong secret: <redacted>" in outcome.out


def test_a_stream_that_cannot_show_a_character_gets_its_escape() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Terminal(stream, stream).line("fünf")
    assert raw.getvalue() == b"f\\xfcnf\n"


# JSON


@pytest.fixture(scope="session")
def validator(repository: Path) -> jsonschema.Draft202012Validator:
    schema = json.loads((repository / "client" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def report_of(validator: jsonschema.Draft202012Validator) -> Callable[[Outcome], dict[str, Any]]:
    def parse(outcome: Outcome) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(outcome.out)
        validator.validate(report)
        return report

    return parse


@pytest.mark.parametrize("command", ["e2e", "configuration", "token"])
@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(issuer="http://idp.example/other")])
def test_every_report_follows_the_schema_and_agrees_with_the_exit_code(
    start_proxy: StartProxy,
    run_client: RunClient,
    report_of: Callable[[Outcome], dict[str, Any]],
    command: str,
    behaviour: Behaviour,
) -> None:
    proxy = start_proxy(behaviour)
    outcome = run_client(proxy, command, "--json")
    report = report_of(outcome)
    assert report["command"] == command
    assert report["passed"] == (outcome.code == 0) == (behaviour == Behaviour())
    assert report["target"] == {
        "host": "127.0.0.1",
        "wss_port": proxy.wss_port,
        "oauth_port": proxy.oauth_port,
        "tls_verified": True,
    }


def test_the_report_of_e2e_has_every_scenario(
    start_proxy: StartProxy, run_client: RunClient, report_of: Callable[[Outcome], dict[str, Any]]
) -> None:
    report = report_of(run_client(start_proxy(Behaviour(valid_refusal=502)), "e2e", "--json"))
    scenarios = report["result"]["scenarios"]
    assert [(scenario["number"], scenario["name"], scenario["status"]) for scenario in scenarios] == [
        (1, "configuration", "passed"),
        (2, "token", "passed"),
        (3, "echo", "failed"),
        (4, "invalid token", "not_run"),
    ]
    assert scenarios[2]["failure"]["received"].startswith("refused with 502 Bad Gateway")


def test_the_report_says_that_tls_was_not_verified(
    proxy: FakeProxy, run_client: RunClient, report_of: Callable[[Outcome], dict[str, Any]]
) -> None:
    outcome = run_client(proxy, "configuration", "--json", trust=("--insecure",))
    assert report_of(outcome)["target"]["tls_verified"] is False
    assert "WARNING" in outcome.err


@pytest.mark.parametrize(
    "change",
    [
        {"passed": "yes"},
        {"schema_version": 2},
        {"result": None},
        {"failure": {"expected": "a", "received": "b", "remedy": None}},
        {"more": 1},
    ],
)
def test_the_schema_refuses_other_reports(
    proxy: FakeProxy,
    run_client: RunClient,
    report_of: Callable[[Outcome], dict[str, Any]],
    validator: jsonschema.Draft202012Validator,
    change: dict[str, Any],
) -> None:
    report = report_of(run_client(proxy, "e2e", "--json"))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**report, **change})
