"""Limits by address, subject, network and time: the refusal, its rule in the audit log, and what still passes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stacks.settings_policy import Limits
from tests.proxy.auth import websocket
from tests.proxy.auth.conftest import Setting, SettingMaker
from tests.proxy.auth.proxy import Answer

PROVIDER = "external"
ADMITTED, FLOOD = 5, 60


def refused_by(setting: Setting, records: int) -> tuple[int, str]:
    record = setting.proxy.audited("refusal", after=records)
    return record["status"], record["rule"]


@pytest.mark.parametrize("key", ["connectionsPerAddress", "connectionsPerSubject"])
def test_connections_are_limited_over_all_workers(make_setting: SettingMaker, key: str) -> None:
    with make_setting(PROVIDER, sections={"limits": {key: 3}}) as made:
        open_ones = [made.proxy.open(made.token()) for _ in range(3)]
        assert [session.status for session in open_ones] == [101] * 3
        records, connections = len(made.proxy.audit()), made.proxy.backend.accepted
        for _ in range(6):
            assert made.proxy.open(made.token()).status == 429
        assert refused_by(made, records) == (429, f"limits.{key}")
        assert made.proxy.backend.accepted == connections
        other: dict[str, Any] = {"source": "127.0.0.2"} if key.endswith("Address") else {}
        token = made.token() if other else made.token(sub="bob")
        assert made.proxy.open(token, **other).status == 101
        websocket.close(open_ones.pop())
        time.sleep(0.3)
        assert made.proxy.open(made.token()).status == 101


def test_connections_of_a_worker_that_died_are_not_counted(make_setting: SettingMaker) -> None:
    with make_setting(PROVIDER, sections={"limits": {"connectionsPerSubject": 2}}) as made:
        held = [made.proxy.open(made.token()) for _ in range(2)]
        assert made.proxy.open(made.token()).status == 429
        for worker in made.proxy.workers():
            os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 25
        while (answer := made.proxy.open(made.token())).status != 101:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        answer.socket.close()
        for session in held:
            session.socket.close()


def test_one_token_does_not_take_a_machine(make_setting: SettingMaker) -> None:
    """With the limits that a deployment has which sets none, but for a subject's, which is long to reach."""
    defaults = Limits().model_dump(mode="json", by_alias=True)
    assert 0 < defaults["connectionsPerSubject"] < defaults["connectionsPerAddress"]
    limits = {**defaults, "connectionsPerSubject": 5}
    with make_setting(PROVIDER, sections={"limits": limits}, image={"PROXY_WORKER_CONNECTIONS": "128"}) as made:
        held = [made.proxy.open(made.token()) for _ in range(6)]
        assert [answer.status for answer in held] == [101] * 5 + [429]
        # 56 sessions in each of two workers; the other 16 connections of each are for what brings no session.
        held += [made.proxy.open(made.token(sub=f"user-{number}")) for number in range(140)]
        statuses = [answer.status for answer in held]
        assert set(statuses[6:]) == {101, 503}
        assert statuses.count(101) <= 112
        assert made.proxy.health("/healthz")[0] == 200
        assert made.proxy.request("GET", "/configuration", [], port=made.proxy.oauth_port).status == 200
        assert "worker_connections are not enough" not in made.proxy.log("nginx-error.log")
        for answer in held:
            answer.socket.close()


SLOW_WORKER = """
    location = /slow-worker/draw {
        content_by_lua_block { ngx.print(ngx.shared.sessions:incr("last", 1)) }
    }
    location = /slow-worker/enter {
        content_by_lua_block {
            ngx.shared.sessions:set("w:" .. ngx.var.arg_number, ngx.worker.pid())
            ngx.shared.sessions:set("n:" .. ngx.var.arg_number .. ":a:" .. ngx.var.binary_remote_addr, 1)
        }
    }
    location / {
"""


def test_sessions_of_a_worker_that_was_slow_to_start_are_counted(make_setting: SettingMaker) -> None:
    """It draws its number, others find their way meanwhile, and only then it enters itself and serves sessions."""
    with make_setting(PROVIDER, sections={"limits": {"connectionsPerAddress": 1}}) as made:
        health = made.proxy.configuration / "conf.d/health.conf"
        health.write_text(health.read_text().replace("    location / {\n", SLOW_WORKER, 1))
        made.proxy.renew_workers()
        status, number = made.proxy.health("/slow-worker/draw")
        assert status == 200
        for worker in made.proxy.workers():
            made.proxy.replace_worker(worker)
        assert made.proxy.health(f"/slow-worker/enter?number={number.decode()}")[0] == 200
        assert made.proxy.open(made.token()).status == 429


def test_handshakes_of_an_address_are_limited_in_time(make_setting: SettingMaker) -> None:
    limits = {"handshakesPerAddress": 10, "rateWindow": "2s"}
    with make_setting(PROVIDER, sections={"limits": limits}) as made:
        statuses = [made.proxy.open().status for _ in range(25)]
        assert statuses[:10] == [401] * 10
        assert 429 in statuses[10:]
        assert any(record["rule"] == "limits.handshakesPerAddress" for record in made.proxy.audit())
        assert made.proxy.open(source="127.0.0.2").status == 401
        time.sleep(4.1)
        assert made.proxy.open().status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/token"), ("GET", "/authorize?state=x"), ("POST", "/authorize"), ("GET", "/configuration")],
)
def test_requests_to_each_oauth_endpoint_are_limited_in_time(
    make_setting: SettingMaker, method: str, path: str
) -> None:
    with make_setting(PROVIDER, sections={"limits": {"tokenRequestsPerAddress": 3, "rateWindow": "1m"}}) as made:
        port = made.proxy.oauth_port
        body = b"a=b" if method == "POST" else b""
        statuses = [made.proxy.request(method, path, [], port=port, body=body).status for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert refused_by(made, 0) == (429, "limits.tokenRequestsPerAddress")
        assert made.proxy.audit()[0]["listener"] == "oauth"
        for other_method, other in (("POST", "/token"), ("GET", "/authorize"), ("GET", "/configuration")):
            expected = 429 if path.startswith(other) else 200
            assert made.proxy.request(other_method, other, [], port=port, source="127.0.0.1").status == expected


@pytest.mark.parametrize("method", ["DELETE", "PUT", "HEAD", "OPTIONS"])
def test_an_authorization_request_is_a_get_or_a_post(make_setting: SettingMaker, method: str) -> None:
    with make_setting(PROVIDER) as made:
        before = len(made.issuer.requests)
        answer = made.proxy.request(method, "/authorize", [], port=made.proxy.oauth_port)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
        assert refused_by(made, 0) == (405, "method")
        assert len(made.issuer.requests) == before


# What needs no token: each is a way to make the proxy write.
FLOODS: dict[str, Callable[[Setting, str], Answer]] = {
    "no token": lambda made, source: made.proxy.open(source=source),
    "two tokens": lambda made, source: made.proxy.open("a", fields=[("Authorization", "Bearer b")], source=source),
    "large header": lambda made, source: made.proxy.open(fields=[("X-Large", "x" * 40_000)], source=source),
    "large body": lambda made, source: ask_oauth(made, source, "POST", "/token", b"x" * 70_000),
    "large body for /authorize": lambda made, source: ask_oauth(made, source, "POST", "/authorize", b"x" * 70_000),
    "no such path": lambda made, source: ask_oauth(made, source, "GET", "/nothing"),
    "another method": lambda made, source: ask_oauth(made, source, "DELETE", "/authorize"),
    "no such session": lambda made, source: made.proxy.request("GET", "/.secure-proxy/sessions", [], source=source),
}


def ask_oauth(made: Setting, source: str, method: str, path: str, body: bytes = b"") -> Answer:
    return made.proxy.request(method, path, [], port=made.proxy.oauth_port, body=body, source=source)


@pytest.fixture(scope="module")
def flooded(make_setting: SettingMaker) -> Iterator[Setting]:
    with make_setting(PROVIDER, sections={"limits": {"handshakesPerAddress": ADMITTED, "rateWindow": "1h"}}) as made:
        made.proxy.awaits_records = False
        yield made


@pytest.mark.parametrize("name", FLOODS)
def test_beyond_the_limit_one_refusal_of_an_address_is_logged_in_a_second(flooded: Setting, name: str) -> None:
    source = f"127.0.0.{10 + list(FLOODS).index(name)}"
    begun = time.monotonic()
    sent = 0
    while sent < FLOOD:
        assert FLOODS[name](flooded, source).status >= 400
        sent += 1
    allowed = ADMITTED + (time.monotonic() - begun) + 1
    assert len(access_lines(flooded, source)) <= allowed < FLOOD
    assert len(refusals(flooded, source)) <= allowed
    # What was left out is told by a record that comes later.
    deadline = time.monotonic() + 10
    while sum(1 + record.get("unlogged", 0) for record in refusals(flooded, source)) != sent:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        FLOODS[name](flooded, source)
        sent += 1


def test_another_address_is_logged_as_ever(flooded: Setting) -> None:
    for _ in range(ADMITTED):
        assert flooded.proxy.open(source="127.0.0.99").status == 401
    deadline = time.monotonic() + 10
    while not len(access_lines(flooded, "127.0.0.99")) == len(refusals(flooded, "127.0.0.99")) == ADMITTED:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def access_lines(made: Setting, address: str) -> list[str]:
    return [
        line for line in made.proxy.log("http-access.log").splitlines() if line.startswith(f"remote_addr={address} ")
    ]


def refusals(made: Setting, address: str) -> list[dict[str, Any]]:
    return [record for record in made.proxy.audit() if record["client"] == address]


def test_a_burst_of_connections_waits_in_a_queue_as_long_as_the_machine_allows(make_setting: SettingMaker) -> None:
    allowed = min(4096, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    with make_setting(PROVIDER) as made:
        for port in (made.proxy.wss_port, made.proxy.oauth_port):
            command = ["ss", "--no-header", "--listening", "--tcp", "--numeric", f"sport = :{port}"]
            columns = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            assert int(columns[2]) == allowed


@pytest.mark.parametrize(
    ("limits", "refused", "rule"),
    [
        ({"deniedNetworks": ["127.0.0.1/32"]}, True, "limits.deniedNetworks"),
        ({"deniedNetworks": ["127.0.0.2/32"]}, False, ""),
        ({"allowedNetworks": ["10.0.0.0/8"]}, True, "limits.allowedNetworks"),
        ({"allowedNetworks": ["10.0.0.0/8", "127.0.0.0/8"]}, False, ""),
        ({"allowedNetworks": ["127.0.0.0/8"], "deniedNetworks": ["127.0.0.0/30"]}, True, "limits.deniedNetworks"),
        ({"allowedNetworks": ["0.0.0.0/0"], "deniedNetworks": ["128.0.0.0/1"]}, False, ""),
    ],
)
def test_networks_are_admitted_or_not(
    make_setting: SettingMaker, limits: dict[str, Any], refused: bool, rule: str
) -> None:
    with make_setting(PROVIDER, sections={"limits": limits}) as made:
        answer = made.proxy.open(made.token())
        oauth = made.proxy.request("GET", "/configuration", [], port=made.proxy.oauth_port)
        assert (answer.status, oauth.status) == ((403, 403) if refused else (101, 200))
        if refused:
            assert refused_by(made, 0) == (403, rule)


def test_a_request_body_beyond_the_limit_is_refused(make_setting: SettingMaker) -> None:
    with make_setting(PROVIDER, sections={"limits": {"maxRequestBody": 2048}}) as made:
        answer = made.proxy.request("POST", "/token", [], port=made.proxy.oauth_port, body=b"x" * 4096)
        assert answer.status == 413
        assert refused_by(made, 0) == (413, "limits.maxRequestBody")
        assert made.issuer.requests[-1][0] != "/awsexample/token"


def test_a_client_that_takes_its_time_with_headers_is_cut_off(make_setting: SettingMaker) -> None:
    with (
        make_setting(PROVIDER, sections={"limits": {"headerTimeout": "1s"}}) as made,
        made.proxy.connect(made.proxy.wss_port) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        client.settimeout(5)
        with suppress(ConnectionError):
            assert client.recv(1000) == b"", "a timeout here means that the proxy still waits"
        assert refused_by(made, 0) == (408, "limits.headerTimeout")
