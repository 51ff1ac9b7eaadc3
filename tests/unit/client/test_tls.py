"""TLS: verified unless told otherwise, at least 1.2, errors with a remedy."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.tls import handshake_failed
from tests.unit.client.behaviour import Behaviour
from tests.unit.client.certificates import Authority
from tests.unit.client.conftest import RunClient, StartProxy
from tests.unit.client.fake_proxy import FakeProxy
from tests.unit.client.outcome import Outcome


def assert_refused(outcome: Outcome, cause: str, remedy: str) -> None:
    assert outcome.code == 1
    assert "received: certificate refused: " in outcome.out
    assert cause in outcome.out
    assert "remedy:" in outcome.out
    assert remedy in outcome.out


def test_an_untrusted_certificate_fails_with_its_cause_and_remedy(proxy: FakeProxy, run_client: RunClient) -> None:
    assert_refused(run_client(proxy, "e2e", trust=()), "unable to get local issuer certificate", "--ca-file")
    assert proxy.token_forms == []


def test_insecure_accepts_an_untrusted_certificate_with_a_warning(proxy: FakeProxy, run_client: RunClient) -> None:
    outcome = run_client(proxy, "e2e", trust=("--insecure",))
    assert outcome.code == 0
    assert outcome.err.startswith("WARNING: --insecure")
    assert "NOT verified" in outcome.err


def test_insecure_accepts_a_certificate_for_another_name(
    start_proxy: StartProxy, authority: Authority, run_client: RunClient
) -> None:
    proxy = start_proxy(certificate=authority.issue("other.example"))
    assert run_client(proxy, "e2e", trust=("--insecure",)).code == 0


def test_insecure_still_checks_the_tokens(start_proxy: StartProxy, run_client: RunClient) -> None:
    proxy = start_proxy(Behaviour(accept_any_token=True))
    assert run_client(proxy, "e2e", trust=("--insecure",)).code == 1


def test_a_certificate_of_another_ca_fails(start_proxy: StartProxy, tmp_path: Path, run_client: RunClient) -> None:
    other = Authority(tmp_path)
    proxy = start_proxy(certificate=other.issue("127.0.0.1"))
    assert_refused(run_client(proxy, "e2e"), "issuer certificate", "--ca-file")


def test_a_certificate_for_another_name_fails_with_its_remedy(
    start_proxy: StartProxy, authority: Authority, run_client: RunClient
) -> None:
    proxy = start_proxy(certificate=authority.issue("other.example"))
    assert_refused(run_client(proxy, "e2e"), "127.0.0.1", "--server-name")


def test_server_name_is_what_the_certificate_is_verified_against(
    start_proxy: StartProxy, authority: Authority, run_client: RunClient
) -> None:
    proxy = start_proxy(certificate=authority.issue("other.example"))
    assert run_client(proxy, "e2e", "--server-name", "other.example").code == 0
    assert_refused(run_client(proxy, "e2e", "--server-name", "third.example"), "third.example", "--server-name")


def test_an_expired_certificate_fails_with_its_remedy(
    start_proxy: StartProxy, authority: Authority, run_client: RunClient
) -> None:
    proxy = start_proxy(certificate=authority.issue("127.0.0.1", expired=True))
    assert_refused(run_client(proxy, "e2e"), "expired", "renew the certificate")


def test_the_wss_listener_is_verified_too(start_proxy: StartProxy, authority: Authority, run_client: RunClient) -> None:
    right = start_proxy()
    wrong = start_proxy(certificate=authority.issue("other.example"))
    wrong.oauth_port = right.oauth_port
    outcome = run_client(wrong, "e2e")
    assert outcome.code == 1
    assert "FAIL    3 echo" in outcome.out
    assert "certificate refused" in outcome.out
    assert wrong.handshakes == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@pytest.mark.parametrize("trust", [None, ("--insecure",)])
def test_a_proxy_with_tls_1_1_alone_fails(
    start_proxy: StartProxy, run_client: RunClient, trust: tuple[str, ...] | None
) -> None:
    outcome = run_client(start_proxy(tls_version=ssl.TLSVersion.TLSv1_1), "e2e", trust=trust)
    assert outcome.code == 1
    assert "TLS handshake failed" in outcome.out
    assert "1.2 or 1.3 of it" in outcome.out


@pytest.mark.parametrize("reason", ["TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"])
def test_an_alert_about_the_version_has_its_remedy(reason: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    assert "needs 1.2 or 1.3" in str(handshake_failed(error, "somewhere").failure.remedy)


def test_tls_1_2_is_enough(start_proxy: StartProxy, run_client: RunClient) -> None:
    assert run_client(start_proxy(tls_version=ssl.TLSVersion.TLSv1_2), "e2e").code == 0


@pytest.fixture
def plain_text_port() -> Iterator[int]:
    """A port on loopback where something answers that does not speak TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_port_without_tls_fails_with_its_remedy(
    proxy: FakeProxy, run_client: RunClient, plain_text_port: int
) -> None:
    proxy.oauth_port = plain_text_port
    outcome = run_client(proxy, "e2e")
    assert outcome.code == 1
    assert "something other than TLS answers on this port" in outcome.out


def test_a_closed_port_fails_with_its_remedy(proxy: FakeProxy, run_client: RunClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        proxy.oauth_port = unused.getsockname()[1]
    outcome = run_client(proxy, "e2e")
    assert outcome.code == 1
    assert "refused, nothing listens there" in outcome.out
    assert "check host and port" in outcome.out
