"""The opening handshake: what is accepted, and what each refusal looks like (RFC 6455, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.ports import free_port
from tests.proxy.backend import full_listener, reset
from tests.proxy.conftest import ProxyMaker
from tests.proxy.nginx_harness import Proxy
from tests.proxy.wire import ACCEPT, BINARY, Response, WireClient, frame

pytestmark = pytest.mark.machine


def shake(
    proxy: Proxy, headers: Mapping[str, str | None] | None = None, method: str = "GET", version: str = "1.1"
) -> Response:
    with WireClient(proxy) as client:
        return client.handshake(headers, method=method, version=version)


def test_a_correct_request_is_accepted_with_the_key_hashed_as_the_rfc_says(proxy: Proxy) -> None:
    response = shake(proxy)
    assert response.status == 101
    assert response.headers["sec-websocket-accept"] == ACCEPT
    assert response.headers["upgrade"] == "websocket"
    assert response.headers["connection"] == "Upgrade"


def test_no_subprotocol_is_chosen_when_none_is_offered(proxy: Proxy) -> None:
    assert "sec-websocket-protocol" not in shake(proxy).headers


@pytest.mark.parametrize("offer", ["binary", "chat, binary", "base64,binary"])
def test_binary_is_chosen_when_it_is_offered(proxy: Proxy, offer: str) -> None:
    assert shake(proxy, {"Sec-WebSocket-Protocol": offer}).headers["sec-websocket-protocol"] == "binary"


@pytest.mark.parametrize("offer", ["base64", "chat, superchat", "Binary", "base64url.bearer.authorization.c2VjcmV0"])
def test_a_subprotocol_that_is_not_spoken_is_not_echoed(proxy: Proxy, offer: str) -> None:
    response = shake(proxy, {"Sec-WebSocket-Protocol": offer})
    assert response.status == 101
    assert "sec-websocket-protocol" not in response.headers


def test_extensions_are_declined(proxy: Proxy) -> None:
    response = shake(proxy, {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
    assert response.status == 101
    assert "sec-websocket-extensions" not in response.headers


@pytest.mark.parametrize("value", ["upgrade", "UPGRADE", "keep-alive, Upgrade", "keep-alive,Upgrade,x"])
def test_the_connection_header_is_a_list_of_tokens(proxy: Proxy, value: str) -> None:
    assert shake(proxy, {"Connection": value}).status == 101


@pytest.mark.parametrize("value", ["WebSocket", "h2c, websocket"])
def test_the_upgrade_header_is_a_list_of_tokens(proxy: Proxy, value: str) -> None:
    assert shake(proxy, {"Upgrade": value}).status == 101


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Upgrade": "websockets"},
        {"Connection": None},
        {"Connection": "keep-alive"},
        {"Connection": "not-upgrade"},
    ],
    ids=str,
)
def test_a_request_without_the_upgrade_is_answered_426(proxy: Proxy, headers: Mapping[str, str | None]) -> None:
    response = shake(proxy, headers)
    assert response.status == 426
    assert response.headers["upgrade"] == "websocket"


def test_http_1_0_is_answered_426(proxy: Proxy) -> None:
    assert shake(proxy, version="1.0").status == 426


@pytest.mark.parametrize("version", [None, "8", "12", "14", "13, 8", "013", ""])
def test_another_version_is_answered_426_with_the_one_that_is_spoken(proxy: Proxy, version: str | None) -> None:
    response = shake(proxy, {"Sec-WebSocket-Version": version})
    assert response.status == 426
    assert response.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "CONNECTX"])
def test_another_method_is_answered_405(proxy: Proxy, method: str) -> None:
    response = shake(proxy, method=method)
    assert response.status == 405
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZR==",  # bits beyond the sixteenth byte
        "dGhlIHNhbXBsZSBub25jZSE=",  # 17 bytes
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25jZQ== ,x",
    ],
)
def test_a_key_that_is_not_sixteen_bytes_is_answered_400(proxy: Proxy, key: str | None) -> None:
    assert shake(proxy, {"Sec-WebSocket-Key": key}).status == 400


def test_two_keys_are_answered_400(proxy: Proxy) -> None:
    with WireClient(proxy) as client:
        doubled = client.request().replace(
            b"Sec-WebSocket-Key", b"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\nsec-websocket-key"
        )
        client.send(doubled)
        assert client.response().status == 400


@pytest.mark.parametrize("headers", [{"Content-Length": "3"}, {"Transfer-Encoding": "chunked"}], ids=str)
def test_a_request_with_a_body_is_answered_400(proxy: Proxy, headers: Mapping[str, str | None]) -> None:
    assert shake(proxy, headers).status == 400


def test_an_empty_body_is_none(proxy: Proxy) -> None:
    assert shake(proxy, {"Content-Length": "0"}).status == 101


def test_a_request_without_host_is_answered_400(proxy: Proxy) -> None:
    assert shake(proxy, {"Host": None}).status == 400


def test_a_refusal_reaches_no_backend(proxy: Proxy) -> None:
    before = proxy.backend.accepted
    shake(proxy, {"Sec-WebSocket-Version": "8"})
    assert shake(proxy, {"Upgrade": None}).status == 426
    assert proxy.backend.accepted == before


@pytest.fixture(scope="module")
def roomy(make_proxy: ProxyMaker) -> Iterator[Proxy]:
    """A proxy whose header buffer holds more of what follows the header than a cosocket reads at a time."""
    with make_proxy(extra_http="client_header_buffer_size 16k;") as proxy:
        yield proxy


@pytest.mark.parametrize("size", [1, 1500, 3900, 4082, 4096, 6000, 8178, 8192, 15000])
def test_frames_sent_with_the_request_are_not_lost_or_reordered(roomy: Proxy, size: int) -> None:
    early, late = bytes(range(256)) * 64, b"late" * 20000
    with WireClient(roomy) as client:
        response = client.handshake(early=frame(BINARY, early[:size]) + frame(BINARY, late))
        assert response.status == 101
        client.send_frame(BINARY, late[::-1])
        assert client.receive_bytes(size + 2 * len(late)) == early[:size] + late + late[::-1]


def test_a_backend_that_refuses_is_answered_502(make_proxy: ProxyMaker) -> None:
    with make_proxy(backend_port=free_port()) as proxy:
        assert shake(proxy).status == 502


def test_a_backend_that_does_not_answer_is_answered_504_after_the_connect_timeout(make_proxy: ProxyMaker) -> None:
    with full_listener() as port, make_proxy(backend_port=port, connect_timeout_ms=300) as proxy:
        assert shake(proxy).status == 504


def test_a_backend_name_that_does_not_resolve_is_answered_502(make_proxy: ProxyMaker) -> None:
    with make_proxy(
        backend_host="nowhere.invalid", extra_http="resolver 127.0.0.1:1 ipv6=off; resolver_timeout 1s;"
    ) as proxy:
        assert shake(proxy).status == 502


def test_a_full_worker_answers_503(make_proxy: ProxyMaker) -> None:
    with (
        make_proxy(limits={"sessions_per_worker": 2}) as proxy,
        WireClient(proxy).open(),
        WireClient(proxy).open() as second,
    ):
        response = shake(proxy)
        assert response.status == 503
        assert response.headers["retry-after"] == "5"
        second.close()
        proxy.closed_session()
        assert shake(proxy).status == 101


def test_a_backend_that_refuses_takes_no_place_from_other_sessions(make_proxy: ProxyMaker) -> None:
    with make_proxy(limits={"sessions_per_worker": 1}, backend_port=free_port()) as proxy:
        assert [shake(proxy).status for _ in range(4)] == [502] * 4


def test_handshakes_at_the_same_time_do_not_exceed_the_limit(make_proxy: ProxyMaker) -> None:
    with (
        full_listener() as port,
        make_proxy(backend_port=port, connect_timeout_ms=1500, limits={"sessions_per_worker": 3}) as proxy,
    ):
        clients = [WireClient(proxy) for _ in range(8)]
        for client in clients:
            client.send(client.request())
        statuses = [client.response().status for client in clients]
        for client in clients:
            client.socket.close()
        assert sorted(statuses) == [503] * 5 + [504] * 3


ORIGINS = {"allowed_origins": ["https://app.example.com", "https://other.example:8443"]}


@pytest.fixture(scope="module")
def guarded(make_proxy: ProxyMaker) -> Iterator[Proxy]:
    with make_proxy(limits=ORIGINS) as proxy:
        yield proxy


@pytest.mark.parametrize("origin", ["https://app.example.com", "HTTPS://APP.EXAMPLE.COM", "https://other.example:8443"])
def test_an_allowed_origin_is_accepted(guarded: Proxy, origin: str) -> None:
    assert shake(guarded, {"Origin": origin}).status == 101


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://evil.example, https://app.example.com",
        "",
    ],
)
def test_another_origin_is_answered_403(guarded: Proxy, origin: str) -> None:
    assert shake(guarded, {"Origin": origin}).status == 403


def test_a_client_that_is_no_browser_sends_no_origin_and_is_accepted(guarded: Proxy) -> None:
    assert shake(guarded).status == 101


def test_any_origin_is_accepted_when_none_is_listed(proxy: Proxy) -> None:
    assert shake(proxy, {"Origin": "https://anything.example"}).status == 101


def test_a_backend_that_resets_at_once_is_told_to_the_client_one_way_or_the_other(make_proxy: ProxyMaker) -> None:
    """Whether the reset comes before or after the upgrade is a matter of microseconds."""
    with make_proxy() as proxy:
        proxy.backend.behaviour = reset
        for _ in range(10):
            with WireClient(proxy) as client:
                status = client.handshake().status
                assert status in (101, 502)
                if status == 101:
                    assert client.receive_close().code == 1011
