"""Cron expressions as EC2 Image Builder reads them.

Six fields, of which the day of the month and the day of the week exclude each other
(https://docs.aws.amazon.com/imagebuilder/latest/userguide/cron-expressions.html).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stacks.settings_types import Kind, RefusedError, parse_text

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True)
class _Field:
    name: str
    minimum: int
    maximum: int
    words: tuple[str, ...] = ()
    special: str = r"(?!)"  # forms beyond lists, ranges, steps and `*`

    def accepts(self, text: str) -> bool:
        return all(re.fullmatch(self.special, part) or self._accepts_part(part) for part in text.split(","))

    def _accepts_part(self, part: str) -> bool:
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and 1 <= int(step) <= self.maximum):
            return False
        if span == "*":
            return True
        low, dash, high = span.partition("-")
        first = self._number(low)
        last = self._number(high) if dash else first
        return first is not None and last is not None and first <= last

    def _number(self, text: str) -> int | None:
        if text in self.words:
            return self.words.index(text) + self.minimum
        if not re.fullmatch(r"[0-9]{1,4}", text) or not self.minimum <= int(text) <= self.maximum:
            return None
        return int(text)


_WORD = re.compile("|".join((*_MONTHS, *_DAYS)), re.IGNORECASE)
_DAY_NUMBER = r"(?:[1-9]|[12][0-9]|3[01])"
_WEEKDAY = rf"(?:[1-7]|{'|'.join(_DAYS)})"
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31, special=rf"L|LW|{_DAY_NUMBER}W"),
    _Field("month", 1, 12, tuple(_MONTHS)),
    _Field("day of the week", 1, 7, tuple(_DAYS), special=rf"L|{_WEEKDAY}L|{_WEEKDAY}#[1-5]"),
    _Field("year", 1970, 2199),
)


def parse_cron(value: object) -> str:
    """The expression in the form `cron(…)`; accepted with and without that wrapper, names in any case."""
    text = parse_text(value)
    wrapped = re.fullmatch(r"cron\((.*)\)", text, re.ASCII)
    fields = (wrapped[1] if wrapped else text).split(" ")
    if len(fields) != len(_FIELDS):
        raise RefusedError(f"has {len(fields)} fields instead of {len(_FIELDS)}")
    fields = [_WORD.sub(lambda word: word[0].lower(), field) for field in fields]
    days = (fields[2], fields[4])
    if days.count("?") != 1:
        raise RefusedError("must have `?` either as day of the month or as day of the week")
    for field, content in zip(_FIELDS, fields, strict=True):
        if content != "?" and not field.accepts(content):
            raise RefusedError(f"has a wrong {field.name}")
        if content == "?" and field.name not in ("day of the month", "day of the week"):
            raise RefusedError(f"has a wrong {field.name}")
    return f"cron({' '.join(fields)})"


CRON = Kind(
    "cron",
    "minute hour day-of-month month day-of-week year in UTC, one of the two day fields being `?`, "
    "such as `0 2 ? * sun *`",
    parse_cron,
)
