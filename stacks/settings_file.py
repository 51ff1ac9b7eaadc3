"""Reading `cdk.json` strictly: what is silently forgiven elsewhere (a key given twice, NaN) is an error here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from stacks.settings_types import joined, shown


class SettingsError(ValueError):
    """The settings cannot be used; the text has one line per problem."""

    @classmethod
    def of(cls, file: str, problems: Iterable[tuple[str, str]]) -> SettingsError:
        """The error whose lines read `file: path: problem`; without a path, `file: problem`."""
        return cls("\n".join(": ".join(part for part in (file, path, text) if part) for path, text in problems))


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys were given more than once."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.repeated = sorted({key for key in keys if keys.count(key) > 1})


def read_project_settings(path: Path) -> dict[str, Any]:
    """The object under `projectSettings` in the JSON file at `path`.

    Raises `SettingsError` when the file is missing, unreadable or not JSON, when a key is given twice anywhere in
    it, and when `projectSettings` is missing or not an object.
    """
    document = _parse(path.name, _read(path))
    if not isinstance(document, _Object):
        wrong = "is not a JSON object, allowed: an object with the key projectSettings"
        raise SettingsError.of(path.name, [("", wrong)])
    repeated = [(place, "is given twice, allowed: each key once") for place in _repetitions(document, [])]
    if repeated:
        raise SettingsError.of(path.name, repeated)
    if "projectSettings" not in document:
        wrong = "is missing, allowed: an object with the keys of docs/configuration.md; {} takes every default"
        raise SettingsError.of(path.name, [("projectSettings", wrong)])
    settings = document["projectSettings"]
    if not isinstance(settings, dict):
        wrong = f"{shown(settings)} is not an object, allowed: an object with the keys of docs/configuration.md"
        raise SettingsError.of(path.name, [("projectSettings", wrong)])
    return settings


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        wrong = f"there is no file {path}, allowed: a cdk.json with the key projectSettings"
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start} is not UTF-8, allowed: JSON in UTF-8"
    except OSError as error:
        wrong = f"cannot be read ({error.strerror}), allowed: a readable JSON file"
    raise SettingsError.of(path.name, [("", wrong)])


def _parse(file: str, text: str) -> Any:
    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=_Object, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        wrong = f"line {error.lineno}, column {error.colno} is not JSON ({error.msg})"
    except RecursionError:
        wrong = "is nested too deeply"
    except ValueError as error:
        wrong = f"is not JSON ({error})"
    raise SettingsError.of(file, [("", f"{wrong}, allowed: a JSON object with the key projectSettings")])


def _repetitions(value: Any, place: list[str | int]) -> Iterable[str]:
    if isinstance(value, _Object):
        yield from (joined([*place, key]) for key in value.repeated)
        for key, entry in value.items():
            yield from _repetitions(entry, [*place, key])
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _repetitions(entry, [*place, index])
