"""The sorts of value that settings are made of.

A `Kind` is stated once and used three times: it turns a JSON value into a setting, it words the error when that is
not possible, and `docs/configuration.md` shows its name and what it allows. Kinds are placed in `Annotated[...]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

ERROR_TYPE = "setting"  # the pydantic error type whose text is ours and complete

_INTEGER_TEXT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DURATION_TEXT = re.compile(r"([0-9]{1,9})(ms|s|m|h)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_SHOWN_CHARACTERS = 80


class RefusedError(ValueError):
    """A value does not belong to a kind; the text completes the sentence that begins with the value."""


def shown(value: object) -> str:
    """The value as one line of JSON for an error message, shortened when it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def refuse(value: object, wrong: str, allowed: str) -> NoReturn:
    """Raise the pydantic error that reads `<value> <what is wrong>, allowed: <what is allowed>`."""
    raise PydanticCustomError(ERROR_TYPE, "{problem}", {"problem": f"{shown(value)} {wrong}, allowed: {allowed}"})


@dataclass(frozen=True)
class Kind:
    """A sort of value.

    `parse` gets any JSON value and returns the setting, or raises `RefusedError`.
    """

    name: str
    allowed: str
    parse: Callable[[object], object]

    def validate(self, value: object) -> object:
        try:
            return self.parse(value)
        except RefusedError as refused:
            refuse(value, str(refused), self.allowed)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)


@dataclass(frozen=True)
class ListKind:
    """A JSON list of distinct values of one kind; the setting is a tuple."""

    item: Kind
    at_least: int = 0

    @property
    def name(self) -> str:
        return f"list of {self.item.name}"

    @property
    def allowed(self) -> str:
        count = f"at least {self.at_least}" if self.at_least else "any number"
        return f"a list, {count}, no repetitions; each: {self.item.allowed}"

    def validate(self, value: object) -> object:
        if not isinstance(value, list | tuple):
            refuse(value, "is not a list", self.allowed)
        if len(value) < self.at_least:
            refuse(value, "has too few entries", self.allowed)
        if len({json.dumps(entry, default=str) for entry in value}) != len(value):
            refuse(value, "names something twice", self.allowed)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        item = core_schema.no_info_plain_validator_function(self.item.validate)
        entries = core_schema.tuple_schema([item], variadic_item_index=0)
        return core_schema.no_info_before_validator_function(self.validate, entries)


@dataclass(frozen=True)
class ObjectListKind:
    """A JSON list of objects, each a group of settings of its own; the setting is a tuple of models."""

    what: str

    @property
    def name(self) -> str:
        return f"list of {self.what}"

    @property
    def allowed(self) -> str:
        return f"a list of {self.what}, each an object with the keys below"

    def validate(self, value: object) -> object:
        if not isinstance(value, list | tuple):
            refuse(value, "is not a list", self.allowed)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.validate, handler(source))


@dataclass(frozen=True)
class Optional:
    """A kind whose values may also be missing."""

    kind: Kind | ListKind

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def allowed(self) -> str:
        return self.kind.allowed

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.nullable_schema(self.kind.__get_pydantic_core_schema__(source, handler))


def optional(kind: Kind | ListKind) -> Optional:
    return Optional(kind)


def parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise RefusedError("is not a string")
    return value


def parse_integer(value: object) -> int:
    """A whole number, given as a JSON number or as its decimal text (older files quote their numbers)."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise RefusedError("is not a whole number")
    if isinstance(value, str) and not _INTEGER_TEXT.fullmatch(value):
        raise RefusedError("is not a whole number")
    return int(value)


def parse_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise RefusedError("is neither true nor false")
    return value


def milliseconds(duration: str) -> int:
    """The length of a validated duration such as `30s`, in milliseconds."""
    match = _DURATION_TEXT.fullmatch(duration)
    if match is None:
        raise ValueError(f"{shown(duration)} is not a duration; expected a number followed by ms, s, m or h")
    return int(match[1]) * _MILLISECONDS[match[2]]


def integer(minimum: int, maximum: int, *, name: str = "integer", note: str = "") -> Kind:
    """Whole numbers from `minimum` to `maximum`, both included."""

    def parse(value: object) -> int:
        number = parse_integer(value)
        if not minimum <= number <= maximum:
            raise RefusedError("is out of range")
        return number

    return Kind(name, f"a whole number from {minimum} to {maximum}{note}", parse)


def duration(minimum: str, maximum: str, *, note: str = "") -> Kind:
    """NGINX time intervals of one unit (https://nginx.org/en/docs/syntax.html), kept as their text."""
    shortest, longest = milliseconds(minimum), milliseconds(maximum)

    def parse(value: object) -> str:
        text = parse_text(value)
        if not _DURATION_TEXT.fullmatch(text):
            raise RefusedError("is not a duration")
        if not shortest <= milliseconds(text) <= longest:
            raise RefusedError("is out of range")
        return text

    allowed = f"a number followed by ms, s, m or h, from {minimum} to {maximum}{note}"
    return Kind("duration", allowed, parse)


def choice(*options: str) -> Kind:
    """Exactly one of a few words."""

    def parse(value: object) -> str:
        text = parse_text(value)
        if text not in options:
            raise RefusedError("is not one of the choices")
        return text

    return Kind("choice", " or ".join(f"`{option}`" for option in options), parse)


def text(pattern: str, allowed: str, *, name: str = "string", wrong: str = "has another form") -> Kind:
    """Strings that match `pattern` from end to end."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: object) -> str:
        string = parse_text(value)
        if not compiled.fullmatch(string):
            raise RefusedError(wrong)
        return string

    return Kind(name, allowed, parse)


def string_map(key: Kind, value: Kind, *, at_most: int) -> Kind:
    """A JSON object whose keys and values are strings of two kinds; the setting is a mapping to be read only."""

    def parse(raw: object) -> Mapping[str, str]:
        if not isinstance(raw, Mapping):
            raise RefusedError("is not an object")
        if len(raw) > at_most:
            raise RefusedError(f"has more than {at_most} entries")
        result: dict[str, str] = {}
        for name, entry in raw.items():
            for part, kind in ((name, key), (entry, value)):
                try:
                    kind.parse(part)
                except RefusedError as refused:
                    raise RefusedError(f"holds {shown(part)}, which {refused}") from None
            result[name] = entry
        return result

    return Kind("object", f"at most {at_most} entries; key: {key.allowed}; value: {value.allowed}", parse)


def joined(parts: Sequence[str | int]) -> str:
    """A pydantic location as users write it: `proxySettings.authentication.audiences[0]`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + (part if re.fullmatch(r"\w+", part, re.ASCII) else shown(part))
    return path


BOOLEAN = Kind("boolean", "`true` or `false`", parse_boolean)
PORT = integer(1, 65535, name="port")
