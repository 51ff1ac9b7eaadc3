"""What the tests of the settings share: settings with a few keys changed, and the problems they have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from stacks.settings import ProjectSettings, SettingsError, load_settings

REPOSITORY = Path(__file__).parents[2]
SHIPPED = json.loads((REPOSITORY / "cdk.json").read_text())["projectSettings"]


def problems(overrides: dict[str, object]) -> dict[str, str]:
    """What is wrong with the shipped settings after `overrides`: path below projectSettings → the text behind it."""
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides=overrides)
    return parsed(str(caught.value))


def parsed(error: str) -> dict[str, str]:
    """The lines of an error about settings; fails when one of them has another form or a path comes twice."""
    found: dict[str, str] = {}
    for line in error.split("\n"):
        file, path, text = line.split(": ", 2)
        assert file == "cdk.json"
        assert path.startswith("projectSettings.")
        assert ", allowed: " in text
        key = path.removeprefix("projectSettings.")
        assert key not in found
        found[key] = text
    return found


def all_keys(model: type[BaseModel] = ProjectSettings, prefix: str = "") -> Iterator[str]:
    """The dotted path of every setting, without the groups that hold them."""
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from all_keys(field.annotation, f"{prefix}{field.alias}.")
        else:
            yield f"{prefix}{field.alias}"


def value_at(document: dict[str, object], key: str) -> object:
    place: object = document
    for part in key.split("."):
        assert isinstance(place, dict)
        place = place[part]
    return place
