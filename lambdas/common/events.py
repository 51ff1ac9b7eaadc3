"""Typed events: JSON objects to frozen dataclasses and back.

Keys are the camelCase of the attribute names. An event with a missing, unknown or ill-typed key is refused with the
path of the key, so that a mistake in the state machine shows at the state that makes it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from lambdas.common.errors import InvalidEventError

T = TypeVar("T")


def decode(model: type[T], event: object) -> T:
    """The event as an instance of `model`, a dataclass.

    Attributes may be strings, integers, booleans, other dataclasses, and optional values, tuples and string-keyed
    mappings of these. Raises `InvalidEventError` that names the key at fault.
    """
    value: T = _decode(model, event, "event")
    return value


def encode(value: object) -> Any:
    """The JSON value of a dataclass instance as `decode` reads it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_camel(field.name): encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [encode(entry) for entry in value]
    return value


def _decode(kind: Any, value: object, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _decode_optional(arguments, value, path)
    if origin is tuple:
        return tuple(_decode(arguments[0], entry, f"{path}[{i}]") for i, entry in enumerate(_typed(list, value, path)))
    if origin is not None and issubclass(origin, Mapping):
        entries = _typed(dict, value, path).items()
        return {key: _decode(arguments[1], entry, f"{path}.{key}") for key, entry in entries}
    if dataclasses.is_dataclass(kind):
        return _decode_object(kind, _typed(dict, value, path), path)
    return _typed(kind, value, path)


def _decode_optional(arguments: tuple[Any, ...], value: object, path: str) -> Any:
    if value is None:
        return None
    (kind,) = (argument for argument in arguments if argument is not type(None))
    return _decode(kind, value, path)


def _decode_object(model: Any, value: dict[str, object], path: str) -> Any:
    hints = typing.get_type_hints(model)
    keys = {_camel(field.name): field for field in dataclasses.fields(model)}
    unknown = sorted(value.keys() - keys.keys())
    missing = sorted(keys.keys() - value.keys())
    if unknown or missing:
        faults = [f"unknown {key}" for key in unknown] + [f"missing {key}" for key in missing]
        raise InvalidEventError(f"{path}: {', '.join(faults)}; {model.__name__} has {', '.join(keys)}")
    return model(**{field.name: _decode(hints[field.name], value[key], f"{path}.{key}") for key, field in keys.items()})


def _typed(kind: type, value: object, path: str) -> Any:
    # JSON's true is not a number, although Python's is.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidEventError(f"{path} is {value!r}, which is not of type {kind.__name__}")
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
