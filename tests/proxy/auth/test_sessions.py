"""A session lives as long as its right to exist: expiry, extension, age, an operator's order; and its audit records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.auth import proxy as proxies
from tests.proxy.auth import tokens, websocket
from tests.proxy.auth.conftest import PROVIDERS, Setting, SettingMaker
from tests.proxy.auth.proxy import PROGRAM_DIRECTORY, Answer, read_all, split

API = "/.secure-proxy/sessions"


@pytest.fixture(scope="module", params=PROVIDERS)
def setting(request: pytest.FixtureRequest, make_setting: SettingMaker) -> Iterator[Setting]:
    with make_setting(request.param, clockSkew="30s") as made:
        yield made


def call(setting: Setting, method: str, path: str, token: str | None, **fields: str) -> Answer:
    headers = [("Authorization", f"Bearer {token}")] if token else []
    return setting.proxy.request(method, path, [*headers, *fields.items()])


def body_of(answer: Answer) -> Any:
    """The JSON of a response that may be chunked."""
    text = answer.body.decode()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def operator(setting: Setting, *arguments: str, tmp_path: Path) -> Any:
    """The operator's command, on the machine."""
    environment = tmp_path / "image.env"
    environment.write_text(
        f"JAIL_BASE_DIR={setting.proxy.jail}\nPROXY_BASE_DIR=/etc/nginx\nHEALTH_PORT={setting.proxy.health_port}\n"
    )
    command = [sys.executable, "-I", str(PROGRAM_DIRECTORY / "sessions"), "--image-environment", str(environment)]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def test_a_session_is_cut_when_its_token_expires(setting: Setting) -> None:
    expires = int(time.time()) + 5
    session = setting.proxy.open(setting.token(exp=expires))
    code, when = websocket.wait_for_close(session)
    assert code == 4401
    assert abs(when - expires) <= 1


def test_an_extended_session_lives_on_with_the_same_connection(setting: Setting) -> None:
    expires = int(time.time()) + 4
    session = setting.proxy.open(setting.token(exp=expires))
    connections = _settled(setting)
    later = expires + 4
    answer = call(setting, "POST", f"{API}/{session.headers['secure-proxy-session']}", setting.token(exp=later))
    assert (answer.status, body_of(answer)["expires_at"]) == (200, later)
    time.sleep(max(0, expires + 1 - time.time()))
    assert websocket.echo(session, b"still here") == b"still here"
    assert setting.proxy.backend.accepted == connections
    code, when = websocket.wait_for_close(session)
    assert (code, abs(when - later) <= 1) == (4401, True)


def test_an_extension_reaches_a_session_in_any_worker(setting: Setting) -> None:
    expires = int(time.time()) + 4
    sessions = [setting.proxy.open(setting.token(sub="many", exp=expires)) for _ in range(8)]
    for session in sessions:
        path = f"{API}/{session.headers['secure-proxy-session']}"
        assert call(setting, "POST", path, setting.token(sub="many", exp=expires + 60)).status == 200
    time.sleep(max(0, expires + 1 - time.time()))
    for session in sessions:
        assert websocket.echo(session, b"x") == b"x"
        websocket.close(session)


@pytest.mark.parametrize(("changes", "status"), [({"sub": "mallory"}, 403), ({"sub": None}, 403), ({"exp": 1}, 403)])
def test_a_session_is_not_extended_with_another_token(setting: Setting, changes: dict[str, Any], status: int) -> None:
    session = setting.proxy.open(setting.token())
    records = len(setting.proxy.audit())
    answer = call(setting, "POST", f"{API}/{session.headers['secure-proxy-session']}", setting.token(**changes))
    assert answer.status == status
    record = setting.proxy.audited("refusal", after=records)
    assert record["rule"] in ("session extension", "token")
    websocket.close(session)


def test_a_session_is_not_extended_with_a_token_that_does_not_open_its_route(make_setting: SettingMaker) -> None:
    routes = [{"path": "/orders", "requiredScopes": ["orders"]}]
    with make_setting("external", routes=routes) as made:
        session = made.proxy.open(made.token(scope="orders"), path="/orders")
        path = f"{API}/{session.headers['secure-proxy-session']}"
        assert call(made, "POST", path, made.token(scope="read")).status == 403
        record = made.proxy.audited("refusal")
        assert record["rule"] == "session extension"
        assert record["reason"] == "route /orders: scope 'orders' is missing"
        assert call(made, "POST", path, made.token(scope="read orders")).status == 200
        websocket.close(session)


def test_extension_needs_a_token_in_the_header(setting: Setting) -> None:
    session = setting.proxy.open(setting.token())
    path = f"{API}/{session.headers['secure-proxy-session']}"
    assert call(setting, "POST", path, None).status == 401
    fields = {"Sec-WebSocket-Protocol": f"base64url.bearer.authorization.{setting.token()}"}
    assert call(setting, "POST", path, None, **fields).status == 401
    websocket.close(session)


def test_a_client_sees_its_own_sessions_alone(setting: Setting) -> None:
    ours = setting.proxy.open(setting.token(sub="lister"))
    theirs = setting.proxy.open(setting.token(sub="someone-else"))
    listed = body_of(call(setting, "GET", API, setting.token(sub="lister")))["sessions"]
    assert [entry["id"] for entry in listed] == [ours.headers["secure-proxy-session"]]
    for session in (ours, theirs):
        websocket.close(session)


def test_another_machine_says_that_the_session_is_elsewhere(setting: Setting, make_setting: SettingMaker) -> None:
    session = setting.proxy.open(setting.token())
    path = f"{API}/{session.headers['secure-proxy-session']}"
    with make_setting(setting.provider, issuer=setting.issuer) as elsewhere:
        answer = call(elsewhere, "POST", path, setting.token())
        assert (answer.status, answer.headers["connection"]) == (421, "close")
        record = elsewhere.proxy.audited("refusal")
        assert (record["rule"], record["reason"]) == ("session extension", "the session is not this machine's")
        assert call(elsewhere, "POST", path, setting.token(sub="mallory")).status == 421
        assert call(elsewhere, "POST", path, "bad").status == 403
    assert call(setting, "POST", path, setting.token()).status == 200
    websocket.close(session)


def test_the_next_call_is_free_to_reach_another_machine(setting: Setting) -> None:
    with setting.proxy.connect(setting.proxy.wss_port) as client:
        client.sendall(f"GET {API} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {setting.token()}\r\n\r\n".encode())
        status, headers, _ = split(read_all(client))
        assert (status, headers["connection"]) == (200, "close")


def test_a_session_that_ended_cannot_be_extended(setting: Setting) -> None:
    session = setting.proxy.open(setting.token())
    websocket.close(session)
    setting.proxy.audited("end")
    time.sleep(0.3)
    records = len(setting.proxy.audit())
    answer = call(setting, "POST", f"{API}/{session.headers['secure-proxy-session']}", setting.token())
    assert answer.status == 404
    assert setting.proxy.audited("refusal", after=records)["reason"] == "the session has ended"


@pytest.mark.parametrize("how", ["id", "subject"])
def test_an_operator_ends_sessions(setting: Setting, how: str, tmp_path: Path) -> None:
    target = f"target-{how}"
    sessions = [setting.proxy.open(setting.token(sub=target)) for _ in range(4)]
    bystander = setting.proxy.open(setting.token(sub="bystander"))
    ids = [session.headers["secure-proxy-session"] for session in sessions]
    value, expected = (target, set(ids)) if how == "subject" else (ids[0], {ids[0]})
    assert set(operator(setting, "end", f"--{how}", value, tmp_path=tmp_path)["ended"]) == expected
    for session, name in zip(sessions, ids, strict=True):
        if name in expected:
            assert websocket.wait_for_close(session)[0] == 4403
        else:
            websocket.close(session)
    assert websocket.echo(bystander, b"untouched") == b"untouched"
    deadline = time.monotonic() + 10
    while (listed := {entry["id"] for entry in operator(setting, "list", tmp_path=tmp_path)["sessions"]}) & set(ids):
        assert time.monotonic() < deadline, "ended sessions stay in the list"
    assert bystander.headers["secure-proxy-session"] in listed
    websocket.close(bystander)


@pytest.mark.parametrize("key", ["", "0" * 64])
def test_nobody_is_the_operator_without_the_key(setting: Setting, key: str) -> None:
    status, _ = setting.proxy.health("/operator/sessions", X_Operator_Key=key)
    assert status == 403


def test_the_operator_s_key_is_for_root_alone(setting: Setting) -> None:
    key = setting.proxy.configuration / "certs/operator.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_uid) == (0o600, 0)


def test_opening_and_end_are_audited(setting: Setting) -> None:
    records = len(setting.proxy.audit())
    token = setting.token(sub="audited")
    session = setting.proxy.open(token)
    assert websocket.echo(session, b"twelve bytes") == b"twelve bytes"
    websocket.close(session)
    end = setting.proxy.audited("end", after=records)
    opening = setting.proxy.audited("opening", after=records)
    assert opening["id"] == end["id"] == session.headers["secure-proxy-session"]
    assert opening["expires_at"] == json.loads(tokens.decode(token.split(".")[1]))["exp"]
    for record in (opening, end):
        assert record["subject"] == "audited"
        assert record["issuer"] == setting.issuer.url
        assert record["client"] == "127.0.0.1"
        assert record["route"] == "/"
        assert record["listener"] == "wss"
        assert record["backend"] == f"127.0.0.1:{setting.proxy.backend.port}"
    assert (end["bytes_up"], end["bytes_down"], end["close_code"]) == (12, 12, 1000)
    assert end["frames_up"] >= 1
    assert end["frames_down"] >= 1
    assert 0 <= end["duration_s"] < 10


def test_the_maximum_age_ends_a_session(make_setting: SettingMaker) -> None:
    with make_setting("external", sections={"limits": {"maxSessionAge": "2s"}}) as made:
        session = made.proxy.open(made.token())
        started = time.time()
        code, when = websocket.wait_for_close(session)
        assert (code, abs(when - started - 2) <= 1) == (1001, True)


def test_an_audit_log_that_was_rotated_is_followed(make_setting: SettingMaker) -> None:
    with make_setting("external") as made:
        log = made.proxy.configuration / "logs/audit.log"
        assert made.proxy.open().status == 401
        made.proxy.audited("refusal")
        owner = log.stat()
        log.rename(log.with_suffix(".log.1"))
        log.touch(mode=0o660)
        os.chown(log, owner.st_uid, owner.st_gid)
        time.sleep(1.2)
        assert made.proxy.open().status == 401
        assert made.proxy.audited("refusal")["reason"] == "no token"


def _settled(made: Setting) -> int:
    """How many connections the backend has seen, once those of the readiness probes have been counted."""
    while True:
        before = made.proxy.backend.accepted
        time.sleep(0.5)
        if before == made.proxy.backend.accepted:
            return before


def test_no_session_without_an_audit_log(make_setting: SettingMaker) -> None:
    with make_setting("external", ready=True) as made:
        log = made.proxy.configuration / "logs/audit.log"
        log.unlink()
        log.mkdir()
        connections = _settled(made)
        assert made.proxy.open(made.token()).status == 503
        assert made.proxy.backend.accepted == connections


@contextmanager
def small_disk_for_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Proxies that are made meanwhile have their logs on a disk of a few pages; gives their directories."""
    original, disks = proxies.make_jail, []

    def with_disk(root: Path, directory: Path) -> Path:
        jail = original(root, directory)
        logs = jail / proxies.CONFIGURATION / "logs"
        owner = (logs / "audit.log").stat()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", str(logs)], check=True)
        disks.append(logs)
        for name in proxies.LOGS:
            (logs / name).touch(mode=0o660)
            os.chown(logs / name, owner.st_uid, owner.st_gid)
        return jail

    monkeypatch.setattr(proxies, "make_jail", with_disk)
    try:
        yield disks
    finally:
        for disk in disks:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_no_session_while_the_disk_is_full(make_setting: SettingMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    with make_setting_on_small_disk(make_setting, monkeypatch) as (made, logs):
        made.proxy.awaits_records = False
        websocket.close(made.proxy.open(made.token()))
        filler = fill(logs)
        # What is left of the log's last page takes a few records, and a part of another.
        statuses = [made.proxy.open(made.token()).status for _ in range(40)]
        assert statuses[-10:] == [503] * 10
        lines = (logs / "audit.log").read_text().splitlines(keepends=True)
        openings = [line for line in lines if '"opening"' in line and line.endswith("}\n")]
        assert statuses.count(101) == len(openings) - 1
        assert not lines[-1].endswith("\n"), "no record was cut short, so the test says nothing about it"

        filler.unlink()
        deadline = time.monotonic() + 10
        while (session := made.proxy.open(made.token())).status != 101:
            assert time.monotonic() < deadline
        websocket.close(session)
        # The part of a record stays on a line of its own.
        later = (logs / "audit.log").read_text().splitlines(keepends=True)[len(lines) :]
        assert {json.loads(line)["event"] for line in later} >= {"refusal", "opening"}


def test_a_record_does_not_go_on_in_a_line_that_was_cut_before_the_start(
    make_setting: SettingMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = proxies.make_jail

    def with_cut_log(root: Path, directory: Path) -> Path:
        jail = original(root, directory)
        (jail / proxies.CONFIGURATION / "logs/audit.log").write_text('{"event":"end","subje')
        return jail

    monkeypatch.setattr(proxies, "make_jail", with_cut_log)
    with make_setting("external") as made:
        made.proxy.awaits_records = False
        log = made.proxy.configuration / "logs/audit.log"
        for _ in range(6):
            assert made.proxy.open().status == 401
        deadline = time.monotonic() + 5
        while len(lines := log.read_text().splitlines()) < 7:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [json.loads(line)["event"] for line in lines[1:]] == ["refusal"] * 6
        log.write_text("")


@contextmanager
def make_setting_on_small_disk(
    make_setting: SettingMaker, monkeypatch: pytest.MonkeyPatch, provider: str = "external", **options: Any
) -> Iterator[tuple[Setting, Path]]:
    with ExitStack() as proxy, small_disk_for_logs(monkeypatch) as disks:
        yield proxy.enter_context(make_setting(provider, **options)), disks[0]


def fill(logs: Path) -> Path:
    """Write until the disk of these logs is full; the file that did it."""
    filler = logs / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


@pytest.mark.parametrize(("origin", "allowed"), [("https://app.example.com", True), ("https://evil.example", False)])
def test_pages_of_allowed_origins_may_extend_sessions(make_setting: SettingMaker, origin: str, allowed: bool) -> None:
    with make_setting("external", sections={"limits": {"allowedOrigins": ["https://app.example.com"]}}) as made:
        preflight = call(made, "OPTIONS", f"{API}/00", None, Origin=origin)
        assert preflight.status == 204
        assert (preflight.headers.get("access-control-allow-origin") == origin) is allowed
        assert ("access-control-allow-headers" in preflight.headers) is allowed
