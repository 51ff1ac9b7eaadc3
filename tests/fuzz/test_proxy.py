"""Random and broken sequences through a real proxy: the right bytes, the right end, nothing left behind."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.decoder_process import DecoderProcess
from tests.fuzz.outcome import Kind, Outcome
from tests.fuzz.sequences import sequence
from tests.proxy.conftest import ProxyMaker
from tests.proxy.nginx_harness import Proxy, resident
from tests.proxy.wire import BINARY, CLOSE, PONG, ConnectionEndedError, Frame, WireClient

pytestmark = pytest.mark.machine

COUNT = 600
FIRST = 5_000_000


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecoderProcess]:
    with DecoderProcess() as process:
        yield process


@pytest.fixture(scope="module")
def recording(make_proxy: ProxyMaker) -> Iterator[tuple[Proxy, queue.Queue[bytes]]]:
    """A proxy whose backend keeps silent and notes what each session brought."""
    sessions: queue.Queue[bytes] = queue.Queue()

    def record(connection: socket.socket) -> None:
        received = b""
        while data := connection.recv(65536):
            received += data
        sessions.put(received)

    with make_proxy() as proxy:
        proxy.backend.behaviour = record
        yield proxy, sessions


def pass_through(proxy: Proxy, sessions: queue.Queue[bytes], chunks: list[bytes], expected: Outcome) -> None:
    """Send the chunks; what the backend and the client get must be what the decoder alone makes of them."""
    with WireClient(proxy).open() as client:
        frames: list[Frame] = []
        for chunk in chunks:
            client.send(chunk)
        pongs = [payload for opcode, payload in expected.controls if opcode == 9]
        while len(frames) < len(pongs) or (
            expected.kind is not Kind.MORE and not (frames and frames[-1].opcode == CLOSE)
        ):
            try:
                frames.append(client.receive_frame())
            except ConnectionEndedError:
                break
    delivered = sessions.get(timeout=10)
    assert [frame.payload for frame in frames if frame.opcode == PONG] == pongs
    assert all(frame.opcode != BINARY for frame in frames)
    if expected.kind is Kind.MORE:
        assert delivered == expected.data
    else:
        assert frames[-1].opcode == CLOSE
        assert (frames[-1].code or 0) == expected.code
        # How the chunks were cut on their way decides how much of a refused message was passed on before.
        shorter, longer = sorted((delivered, expected.data), key=len)
        assert longer.startswith(shorter)
        assert expected.kind is Kind.FAILED or delivered == expected.data


def test_sequences_through_a_proxy_come_to_what_the_decoder_makes_of_them(
    recording: tuple[Proxy, queue.Queue[bytes]], decoder: DecoderProcess
) -> None:
    proxy, sessions = recording
    worker = proxy.workers()[0]
    warm = 0
    for number in range(COUNT):
        chunks = sequence(FIRST + number)
        pass_through(proxy, sessions, chunks, decoder.decode(chunks))
        if number == COUNT // 3:
            warm = resident(worker)
    assert proxy.errors() == []
    assert proxy.workers() == [worker]
    assert resident(worker) - warm < 1 << 20


@pytest.mark.parametrize("path", corpus.files(), ids=lambda path: path.stem)
def test_the_corpus_through_a_proxy(
    recording: tuple[Proxy, queue.Queue[bytes]], decoder: DecoderProcess, path: Path
) -> None:
    proxy, sessions = recording
    chunks = corpus.load(path)
    pass_through(proxy, sessions, chunks, decoder.decode(chunks))
    assert proxy.errors() == []
