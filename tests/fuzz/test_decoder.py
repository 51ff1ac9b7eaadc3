"""The decoder against the reference, on ten thousand sequences and on every one that was ever a problem."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import run
from tests.fuzz.comparison import compare
from tests.fuzz.decoder_process import LUA_ROOT, DecoderDiedError, DecoderProcess
from tests.fuzz.outcome import Kind, Outcome, difference
from tests.fuzz.sequences import sequence
from tests.proxy.wire import BINARY, CLOSE, PING, TEXT, close_payload, frame, header, mask

COUNT = 10_000
# Where the two disagreed once. Each time it was the comparison that was wrong: about the moment at which a refusal
# shows, or about how much of a refused message counts.
SEEDS = (583, 2634, 6718, 6922, 8818, 9935, 1_008_808, 1_013_911, 1_025_631, 1_063_505, 1_080_262, 1_178_365)


@pytest.fixture(scope="module")
def ours() -> Iterator[DecoderProcess]:
    with DecoderProcess() as process:
        yield process


def test_ten_thousand_sequences_make_no_difference() -> None:
    result = run(0, COUNT)
    assert result.failures == []
    # The sequences are worth something only if all three ends are common among them.
    kinds = {kind.name: sum(n for name, n in result.outcomes.items() if name.startswith(kind.name)) for kind in Kind}
    assert min(kinds.values()) > COUNT / 10, kinds
    assert result.growth < 4 << 20


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sequence_that_was_judged_differently_once_no_longer_is(ours: DecoderProcess, seed: int) -> None:
    assert compare(ours, sequence(seed))[1] is None


@pytest.mark.parametrize("path", corpus.files(), ids=lambda path: path.stem)
def test_the_corpus_makes_no_difference(ours: DecoderProcess, path: Path) -> None:
    chunks = corpus.load(path)
    assert compare(ours, chunks)[1] is None


@pytest.mark.parametrize("path", corpus.files(), ids=lambda path: path.stem)
def test_the_corpus_makes_no_difference_byte_by_byte(ours: DecoderProcess, path: Path) -> None:
    data = b"".join(corpus.load(path))
    chunks = [data[at : at + 1] for at in range(len(data))]
    assert compare(ours, chunks)[1] is None


@pytest.mark.parametrize("size", range(70))
@pytest.mark.parametrize("offset", range(4))
def test_unmasking_continues_at_any_byte_of_the_key(ours: DecoderProcess, size: int, offset: int) -> None:
    payload = bytes(range(1, 1 + offset + size))
    whole = header(BINARY, len(payload), key=b"\x81\x02\xf3\x04") + mask(payload, b"\x81\x02\xf3\x04")
    at = len(whole) - size
    assert ours.decode([whole[:at], whole[at:]]).data == payload


@pytest.mark.parametrize("size", [5, 200, 65536])
def test_a_header_may_be_cut_anywhere(ours: DecoderProcess, size: int) -> None:
    payload = bytes(range(256)) * 256
    whole = frame(BINARY, payload[:size])
    for at in range(1, len(whole) - size + 2):
        chunks = [whole[:at], whole[at:] + whole[:3], whole[3:]]
        assert ours.decode(chunks).data == payload[:size] * 2


def test_every_two_bytes_of_text_are_judged_like_the_reference(ours: DecoderProcess) -> None:
    for first in range(0x70, 0x100):
        for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF):
            for rest in (b"", b"\x80", b"\x80\x80", b"aaaaaaaa"):
                chunks = [frame(TEXT, bytes([first, second]) + rest)]
                assert compare(ours, chunks)[1] is None, chunks


@pytest.mark.parametrize("code", [*range(990, 1030), 1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535])
def test_close_codes_are_judged_like_the_reference(ours: DecoderProcess, code: int) -> None:
    chunks = [frame(CLOSE, close_payload(code, b"why"))]
    assert compare(ours, chunks)[1] is None


@pytest.mark.parametrize(
    ("length", "fits"), [(999, True), (1000, True), (1001, False), (70000, False), (1 << 40, False)]
)
def test_a_frame_beyond_the_limit_is_refused_by_its_header(ours: DecoderProcess, length: int, fits: bool) -> None:
    outcome = ours.decode([header(BINARY, length, key=b"keys")], max_frame_size=1000)
    assert outcome.kind is (Kind.MORE if fits else Kind.FAILED)
    assert outcome.code == (0 if fits else 1009)


def test_a_message_beyond_the_limit_is_refused_whatever_its_fragments(ours: DecoderProcess) -> None:
    fragments = [frame(BINARY, b"x" * 400, fin=False), frame(PING, b"y" * 125), frame(0, b"x" * 600, fin=False)]
    assert ours.decode(fragments, max_message_size=1000).kind is Kind.MORE
    assert ours.decode([*fragments, frame(0, b"x")], max_message_size=1000).code == 1009
    assert ours.decode([*fragments, frame(0, b""), frame(BINARY, b"x" * 1000)], max_message_size=1000).kind is Kind.MORE


def test_the_harness_notices_a_decoder_that_loses_a_byte() -> None:
    whole = Outcome(Kind.MORE, 0, "", b"abc", ())
    assert difference(Outcome(Kind.MORE, 0, "", b"ab", ()), whole)
    assert difference(Outcome(Kind.MORE, 0, "", b"abd", ()), whole)
    assert difference(Outcome(Kind.FAILED, 1002, "", b"abc", ()), whole)
    assert difference(whole, whole) is None


def test_the_harness_notices_a_decoder_that_touches_foreign_memory(tmp_path: Path) -> None:
    """The guard pages must work, or the fuzzing proves less than it says."""
    broken = tmp_path / "secure_proxy" / "ws"
    broken.mkdir(parents=True)
    for source in (LUA_ROOT / "secure_proxy" / "ws").glob("*.lua"):
        text = source.read_text()
        if source.name == "mask.lua":
            text = text.replace("if length >= 8 then", "if length >= 1 then").replace(
                "(length - length % 8) / 8", "(length + 8 - length % 8) / 8"
            )
            assert text != source.read_text()
        (broken / source.name).write_text(text)
    with DecoderProcess(tmp_path) as process, pytest.raises(DecoderDiedError):
        process.decode([frame(BINARY, b"12345")])
