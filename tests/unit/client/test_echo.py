"""The comparison of byte streams by itself, and what counts as a passed run."""

from __future__ import annotations

import pytest

from client.echo import Comparison, make_lines
from client.results import EndToEndResult, ExpectationError, ScenarioResult, Status

EXPECTED = b"first\nsecond\n\x00\xff"


def feed_in_pieces(data: bytes, size: int) -> Comparison:
    comparison = Comparison(EXPECTED)
    for start in range(0, len(data), size):
        comparison.feed(data[start : start + size])
    return comparison


@pytest.mark.parametrize("size", range(1, len(EXPECTED) + 1))
def test_the_same_bytes_are_complete_however_they_are_cut(size: int) -> None:
    comparison = feed_in_pieces(EXPECTED, size)
    assert comparison.complete
    assert comparison.received == len(EXPECTED)


def test_an_empty_piece_changes_nothing() -> None:
    comparison = Comparison(EXPECTED)
    comparison.feed(b"")
    assert comparison.received == 0


def test_a_beginning_is_not_complete() -> None:
    assert not feed_in_pieces(EXPECTED[:-1], 4).complete


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"First\nsecond\n\x00\xff", 0),
        (b"first\nsecond\n\x00\xfe", 14),
        (b"first\nsceond\n\x00\xff", 7),
        (b"second\nfirst\n\x00\xff", 0),
        (b"firs\nsecond\n\x00\xff", 4),
        (b"firstt\nsecond\n\x00\xff", 5),
        (b"first\r\nsecond\n\x00\xff", 5),
        (b"first\nsecond\n\xff", 13),
        (b"first\nsecond\n\x00\xff!", 15),
        (b"first\nsecond\n\x00\xff\x00\xff", 15),
    ],
)
def test_the_first_differing_offset_is_found_however_the_bytes_are_cut(data: bytes, offset: int, size: int) -> None:
    with pytest.raises(ExpectationError, match=rf"at offset {offset}\b"):
        feed_in_pieces(data, size)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 2), (5, 1000)])
def test_lines_have_their_size_and_one_newline_each(count: int, size: int) -> None:
    lines = make_lines(count, size)
    assert len(lines) == count
    assert all(len(line) == size and line.index(b"\n") == size - 1 for line in lines)


@pytest.mark.parametrize("status", ["failed", "not_run"])
def test_a_run_passes_only_if_every_scenario_did(status: Status) -> None:
    passed = ScenarioResult(number=1, name="configuration", status="passed", elapsed_ms=1)
    other = ScenarioResult(number=2, name="token", status=status, elapsed_ms=1)
    assert EndToEndResult((passed, passed)).passed
    assert not EndToEndResult((passed, other)).passed
    assert not EndToEndResult(()).passed
