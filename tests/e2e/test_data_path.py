"""Bytes through the deployed proxy: every size and shape comes back as it went."""

from __future__ import annotations

import random

import pytest

from local.deployment import Deployment
from tests.e2e.sessions import connect, receive

pytestmark = pytest.mark.machine


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)  # noqa: S311  (reproducible, not secret)


@pytest.mark.parametrize("length", [1, 65536, 70000, 16 * 1024 * 1024])
def test_one_frame_comes_back_byte_for_byte(deployment: Deployment, length: int) -> None:
    data = noise(length)
    with connect(deployment) as session:
        session.send(data)
        assert receive(session, length) == data


def test_a_message_of_a_thousand_fragments_comes_back_byte_for_byte(deployment: Deployment) -> None:
    data = noise(100_000)
    with connect(deployment) as session:
        session.send(data[start : start + 100] for start in range(0, len(data), 100))
        assert receive(session, len(data)) == data


def test_text_arrives_as_bytes(deployment: Deployment) -> None:
    with connect(deployment) as session:
        session.send("grüße\n")
        assert receive(session, 8) == "grüße\n".encode()


def test_a_ping_is_answered_while_the_application_is_silent(deployment: Deployment) -> None:
    with connect(deployment) as session:
        assert session.ping("are you there").wait(timeout=5)


def test_the_session_closes_cleanly(deployment: Deployment) -> None:
    with connect(deployment) as session:
        session.send(b"bye\n")
        assert receive(session, 4) == b"bye\n"
        session.close()
    assert session.close_code == 1000


def test_the_subprotocol_is_agreed(deployment: Deployment) -> None:
    with connect(deployment) as session:
        assert session.subprotocol == "binary"
