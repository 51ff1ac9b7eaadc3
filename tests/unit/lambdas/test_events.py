"""Typed events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from lambdas.common.errors import InvalidEventError
from lambdas.common.events import decode, encode


@dataclass(frozen=True)
class Inner:
    some_name: str


@dataclass(frozen=True)
class Outer:
    a_count: int
    a_flag: bool
    inner: Inner | None
    several: tuple[Inner, ...]
    by_name: Mapping[str, Inner]


EVENT = {
    "aCount": 3,
    "aFlag": True,
    "inner": {"someName": "x"},
    "several": [{"someName": "y"}],
    "byName": {"k": {"someName": "z"}},
}
OUTER = Outer(3, True, Inner("x"), (Inner("y"),), {"k": Inner("z")})


def test_an_event_becomes_the_model() -> None:
    assert decode(Outer, EVENT) == OUTER


def test_a_model_becomes_the_event() -> None:
    assert encode(OUTER) == EVENT


def test_null_is_a_value_of_an_optional_key() -> None:
    assert decode(Outer, {**EVENT, "inner": None}).inner is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aCount": "3"}, "event.aCount is '3', which is not of type int"),
        ({"aCount": True}, "event.aCount is True, which is not of type int"),
        ({"inner": {"someName": None}}, "event.inner.someName is None"),
        ({"inner": {}}, "event.inner: missing someName"),
        ({"several": {}}, "event.several is {}"),
        ({"several": [{"someName": "y"}, 4]}, "event.several[1] is 4"),
        ({"byName": {"k": {"someName": "z", "other": 1}}}, "event.byName.k: unknown other"),
        ({"extra": 1}, "event: unknown extra"),
    ],
)
def test_an_ill_formed_event_is_refused_with_the_key(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        decode(Outer, {**EVENT, **change})
    assert message in str(caught.value)


def test_a_missing_key_is_refused_even_if_optional() -> None:
    with pytest.raises(InvalidEventError, match="missing inner"):
        decode(Outer, {key: value for key, value in EVENT.items() if key != "inner"})
