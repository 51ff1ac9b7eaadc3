"""The audit log is what docs/security.md and its schema say. Every proxy of these tests has its records checked when it
stops (tests/proxy/auth/proxy.py); here are records of every kind, and the check itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.proxy.auth import websocket
from tests.proxy.auth.audit_schema import SCHEMA, faults
from tests.proxy.auth.authority import Authority
from tests.proxy.auth.conftest import EXTERNAL, SettingMaker
from tests.proxy.auth.issuer import Answer, hang, send
from tests.proxy.auth.test_sessions import API, call
from tests.proxy.nginx_harness import REPOSITORY

SECTIONS = re.compile(r"^## Audit log$(.*?)^## ", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def records(
    make_setting: SettingMaker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, Any]]]:
    """One record of each event, of a client with a certificate."""
    clients = Authority(tmp_path_factory.mktemp("clients"), "clients")
    clients.issue("alice", "/CN=alice")
    certificates = {"mode": "required", "caCertificates": [clients.pem("ca")]}
    with make_setting(EXTERNAL, clientCertificates=certificates) as made:
        context = made.proxy.context()
        context.load_cert_chain(clients.directory / "alice.pem", clients.directory / "alice-key.pem")
        made.proxy.open("bad", context=context)
        session = made.proxy.open(made.token(), context=context)
        path = f"{API}/{session.headers['secure-proxy-session']}"
        extended = made.proxy.request("POST", path, [("Authorization", f"Bearer {made.token()}")], context=context)
        assert extended.status == 200
        websocket.close(session)
        assert made.proxy.request("GET", "/nothing", [], port=made.proxy.oauth_port, context=context).status == 404
        yield {event: made.proxy.audited(event) for event in ("refusal", "opening", "extension", "end")}


@pytest.mark.parametrize("event", ["refusal", "opening", "extension", "end"])
def test_a_record_is_as_documented(records: dict[str, dict[str, Any]], event: str) -> None:
    assert faults([records[event]]) == []


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("refusal", {"status": 101}),
        ("refusal", {"reason": None}),
        ("refusal", {"token": "secret"}),
        ("refusal", {"time": "yesterday"}),
        ("refusal", {"event": "else"}),
        ("opening", {"expires_at": "soon"}),
        ("opening", {"status": 403}),
        ("opening", {"id": "x"}),
        ("extension", {"subject": None}),
        ("end", {"bytes_up": -1}),
        ("end", {"close_code": 5000}),
        ("end", {"client_certificate": {"subject": "CN=alice"}}),
    ],
)
def test_the_check_finds_what_is_wrong(records: dict[str, dict[str, Any]], event: str, change: dict[str, Any]) -> None:
    changed = {name: value for name, value in {**records[event], **change}.items() if value is not None}
    assert faults([changed]) != []


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_documentation_names_every_member_and_no_other() -> None:
    text = Path(REPOSITORY / "docs/security.md").read_text()
    section = SECTIONS.search(text)
    assert section is not None
    rows = [line for line in section.group(1).splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    definitions = SCHEMA["$defs"].values()
    assert documented == {name for part in definitions for name in part.get("properties", {})}


def test_an_extension_is_of_the_session(records: dict[str, dict[str, Any]]) -> None:
    assert records["extension"]["session"] == records["opening"]["id"] == records["end"]["id"]
    assert records["opening"]["client_certificate"]["subject"] == "CN=alice"


def test_what_is_not_there_is_refused_and_recorded(make_setting: SettingMaker) -> None:
    with make_setting(EXTERNAL) as made:
        assert made.proxy.request("GET", "/nothing", [], port=made.proxy.oauth_port).status == 404
        record = made.proxy.audited("refusal")
        assert (record["status"], record["rule"], record["listener"]) == (404, "request", "oauth")
        assert call(made, "POST", f"{API}/zz", made.token()).status == 404


def refuse_client(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b'{"error":"invalid_client"}', 401)


def refuse_size(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b"", 413)


def fail(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b"", 502)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (refuse_client, 401, "answered 401"),
        (refuse_size, 413, "answered 413"),
        (fail, 502, "answered 502"),
        (hang_up, 502, "cannot be reached, or did not answer as it must"),
        (hang, 504, "did not answer in time"),
    ],
)
def test_what_the_identity_provider_answers_is_not_laid_at_the_client_s_door(
    make_setting: SettingMaker, answer: Answer, status: int, reason: str
) -> None:
    with make_setting(EXTERNAL, image={"READ_TIMEOUT": "1s"}) as made:
        made.issuer.answers["/awsexample/token"] = answer
        assert made.proxy.request("POST", "/token", [], port=made.proxy.oauth_port, body=b"a=b").status == status
        record = made.proxy.audited("refusal")
        assert (record["status"], record["rule"], record["reason"]) == (status, "identity provider", reason)
