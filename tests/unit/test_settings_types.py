"""What kinds of settings share."""

from __future__ import annotations

import pytest

from stacks.settings_types import milliseconds, shown


@pytest.mark.parametrize(
    ("text", "expected"), [("0s", 0), ("250ms", 250), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)]
)
def test_a_duration_has_a_length(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


def test_something_else_has_no_length() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        milliseconds("30")


def test_a_short_value_is_shown_whole_and_a_long_one_by_its_beginning() -> None:
    assert shown("a" * 78) == f'"{"a" * 78}"'
    assert shown("a" * 79) == f'"{"a" * 79}…'
