"""The endurance runs of `python -m benchmarks.endurance`, small enough for every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.endurance import LARGEST_GROWTH
from benchmarks.idle import Idle, hold_idle
from benchmarks.streams import send_one_frame, stream_both_ways

pytestmark = pytest.mark.machine


def test_much_random_data_both_ways_at_once_arrives_unchanged(nginx_root: Path) -> None:
    result = stream_both_ways(nginx_root, 400_000_000, seed=2)
    assert result.up_equal
    assert result.down_equal
    assert result.growth < LARGEST_GROWTH
    assert result.errors == []


def test_a_huge_frame_passes_in_bounded_memory(nginx_root: Path) -> None:
    result = send_one_frame(nginx_root, 1 << 30)
    assert result.equal
    assert result.growth < LARGEST_GROWTH


@pytest.mark.parametrize("ending", ["reload", "graceful stop"])
def test_idle_sessions_stay_up_with_pings_and_are_sent_away_one_after_the_other(nginx_root: Path, ending: str) -> None:
    result = hold_idle(nginx_root, Idle(sessions=400, seconds=7, drain=4, ending=ending, read_timeout=5))
    assert result.holds, result
