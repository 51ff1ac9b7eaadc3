"""Provider `external`: an authorizer that is slow, wrong or hostile opens nothing, holds up nobody, and is told nothing
that it need not know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.ports import free_port
from tests.proxy.auth import issuer as behaviours
from tests.proxy.auth.conftest import EXTERNAL, Setting, SettingMaker
from tests.proxy.auth.issuer import Issuer

# The whole exchange may take 5 s, and a little for the machine.
PATIENCE_SECONDS = 9.0
Answer = Callable[[BaseHTTPRequestHandler], None]
Asking = Callable[[Answer], Setting]


@pytest.fixture(scope="module")
def shared(make_setting: SettingMaker) -> Iterator[tuple[Setting, Issuer]]:
    """A proxy and its authorizer."""
    with Issuer("authorizer") as authorizer:
        url = f"http://127.0.0.1:{authorizer.port}/authorize"
        with make_setting(EXTERNAL, ready=False, authorizerUrl=url) as made:
            yield made, authorizer


@pytest.fixture
def asking(shared: tuple[Setting, Issuer]) -> Asking:
    """The proxy, once its authorizer answers so; its audit log is empty."""
    made, authorizer = shared

    def ask(answer: Answer) -> Setting:
        authorizer.answers["/authorize"] = answer
        (made.proxy.configuration / "logs/audit.log").write_text("")
        return made

    return ask


def raw(data: bytes) -> Answer:
    """Exactly these bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def answering(status: int, **fields: str) -> Answer:
    return lambda handler: behaviours.send(handler, b"", status, **{n.replace("_", "-"): v for n, v in fields.items()})


def status_of(setting: Setting) -> int:
    answer = setting.proxy.open(setting.token())
    answer.socket.close()
    return answer.status


OK = b"HTTP/1.1 200 OK\r\n"
UNUSABLE: dict[str, tuple[Answer, str]] = {
    "says nothing": (behaviours.hang, "broke off: timeout"),
    "redirects": (behaviours.redirect, "answered 302"),
    "fails": (answering(500), "answered 500"),
    "asks for another request": (answering(407), "answered 407"),
    "speaks another protocol": (raw(b"\xff\xff nonsense\r\n\r\n"), "did not answer in HTTP"),
    "speaks HTTP/0.9": (raw(b"<html>yes</html>\r\n\r\n"), "did not answer in HTTP"),
    "only promises an answer": (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), "did not answer in HTTP"),
    "breaks off": (raw(OK + b"X-Auth-Subject: ro"), "broke off: closed"),
    "never ends its header": (raw(OK + b"X: " + b"x" * 100_000), "answered with more than 8192 bytes"),
    "sends a header without a name": (raw(OK + b": alice\r\n\r\n"), "sent an unreadable header field"),
    "names two subjects": (
        raw(OK + b"X-Auth-Subject: alice\r\nx-auth-subject: root\r\n\r\n"), "sent x-auth-subject twice"
    ),
    "names no expiry": (answering(204, X_Auth_Expires="soon"), "sent an expiry"),
    "names an endless expiry": (answering(204, X_Auth_Expires="1e99"), "sent an expiry"),
    "names an empty subject": (answering(204, X_Auth_Subject=""), "sent an unusable subject"),
    "names a long subject": (answering(204, X_Auth_Subject="s" * 256), "sent an unusable subject"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_answer_that_is_not_understood_opens_nothing(asking: Asking, name: str) -> None:
    answer, reason = UNUSABLE[name]
    made = asking(answer)
    connections = made.proxy.backend.accepted
    started = time.monotonic()
    assert status_of(made) == 503
    assert time.monotonic() - started < PATIENCE_SECONDS
    record = made.proxy.audited("refusal")
    assert (record["rule"], record["status"]) == ("verifier", 503)
    assert record["reason"].startswith(f"authorizer {reason}")
    assert made.proxy.backend.accepted == connections


@pytest.mark.parametrize("part", ["header field", "status line"])
def test_an_exchange_ends_at_its_deadline_however_the_authorizer_spreads_its_bytes(asking: Asking, part: str) -> None:
    dripping = behaviours.Drip(part)
    made = asking(dripping)
    statuses: list[int] = []
    waiting = [threading.Thread(target=lambda: statuses.append(status_of(made))) for _ in range(4)]
    for thread in waiting:
        thread.start()
    assert all(made.proxy.open().status == 401 for _ in range(4)), "workers wait for nothing but the authorizer"
    assert all(thread.is_alive() for thread in waiting)
    for thread in waiting:
        thread.join()
    assert statuses == [503] * 4
    assert [s for s in dripping.broken_off if s is None or s > PATIENCE_SECONDS] == []
    assert {record["reason"] for record in made.proxy.audit() if record["status"] == 503} == {"authorizer too slow"}


def test_an_authorizer_that_is_not_there_opens_nothing(make_setting: SettingMaker) -> None:
    url = f"http://127.0.0.1:{free_port()}/authorize"
    with make_setting(EXTERNAL, ready=False, authorizerUrl=url) as made:
        assert status_of(made) == 503
        assert made.proxy.audited("refusal")["reason"] == "authorizer cannot be reached: connection refused"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_403_and_its_reason_is_logged(asking: Asking, status: int) -> None:
    made = asking(answering(status, X_Auth_Reason="revoked yesterday"))
    assert status_of(made) == 403
    reason = f"authorizer refused the token with {status}: revoked yesterday"
    assert made.proxy.audited("refusal")["reason"] == reason


def test_a_reason_that_is_not_plain_words_stays_out_of_the_log(asking: Asking) -> None:
    made = asking(answering(403, X_Auth_Reason='"}<script>'))
    assert status_of(made) == 403
    assert made.proxy.audited("refusal")["reason"] == "authorizer refused the token with 403"


def test_the_earlier_expiry_counts(asking: Asking) -> None:
    expires = int(time.time()) + 60
    made = asking(answering(204, X_Auth_Expires=str(expires), X_Auth_Subject="bob"))
    assert status_of(made) == 101
    opening = made.proxy.audited("opening")
    assert (opening["expires_at"], opening["subject"]) == (expires, "bob")


def test_an_authorizer_gets_the_token_and_none_of_the_client_s_own_headers(asking: Asking) -> None:
    seen: list[dict[str, Any]] = []

    def note(handler: BaseHTTPRequestHandler) -> None:
        seen.append({name.lower(): value for name, value in handler.headers.items()})
        behaviours.send(handler, b"", 204)

    made = asking(note)
    token = made.token()
    fields = [("X-Forwarded-For", "8.8.8.8"), ("X-Auth-Subject", "root"), ("Cookie", "a=b")]
    answer = made.proxy.open(token, fields=fields)
    answer.socket.close()
    (headers,) = (headers for headers in seen if "authorization" in headers)
    assert headers.pop("host").startswith("127.0.0.1:")
    assert headers == {"authorization": f"Bearer {token}", "x-forwarded-for": "127.0.0.1", "connection": "close"}


def test_an_authorizer_that_accepts_no_token_at_all_is_not_ready(asking: Asking) -> None:
    made = asking(answering(204))
    status, body = made.proxy.health("/readyz")
    assert (status, body) == (503, b"not ready: authentication: authorizer accepts a request without a token\n")
