"""`cdk.json` → validated, read-only settings: the one place from which ports, paths and names flow.

Nothing here touches the network or the AWS CDK. `load_settings` either returns settings that fit together or raises a
`SettingsError` that lists every problem at once.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from stacks.settings_file import SettingsError, read_project_settings
from stacks.settings_models import ExternalIp, MockServers, ProjectSettings, ProxyFleet, ProxySettings
from stacks.settings_policy import Authentication, Limits
from stacks.settings_rule import Problem, problem
from stacks.settings_rules import HEALTH_PORT, RULES
from stacks.settings_types import ERROR_TYPE, joined, shown

__all__ = [
    "HEALTH_PORT",
    "Authentication",
    "ExternalIp",
    "Limits",
    "MockServers",
    "ProjectSettings",
    "ProxyFleet",
    "ProxySettings",
    "SettingsError",
    "load_settings",
]

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "cdk.json"

# Keys of earlier versions, with what became of them.
_RETIRED = {
    "imagebuilder.baseImageArn": "the base image is named by imagebuilder.baseImage now",
    **{
        f"imagebuilder.{image}_{part}_version": "versions are derived from the content now"
        for image in ("secure_proxy", "mock_servers")
        for part in ("recipe", "component")
    },
}


def load_settings(path: Path = DEFAULT_PATH, overrides: Mapping[str, object] | None = None) -> ProjectSettings:
    """The settings of the file at `path` (a `cdk.json`), with `overrides` put in place before validation.

    `overrides` maps dotted keys below `projectSettings`, such as `proxySettings.bridge`, to JSON values.
    Raises `SettingsError` for anything that is wrong, one line per problem.
    """
    raw = _with_overrides(read_project_settings(path), overrides or {}, path.name)
    settings, problems = _validate(raw)
    if problems:
        raise SettingsError.of(path.name, [(f"projectSettings.{found.path}", found.text) for found in problems])
    return settings


def _with_overrides(raw: dict[str, Any], overrides: Mapping[str, object], file: str) -> dict[str, Any]:
    result: dict[str, Any] = copy.deepcopy(raw)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                wrong = f"cannot be set because {parent} is not an object, allowed: keys of docs/configuration.md"
                raise SettingsError.of(file, [(f"projectSettings.{key}", wrong)])
        place[last] = copy.deepcopy(value)
    return result


def _validate(raw: dict[str, Any]) -> tuple[ProjectSettings, list[Problem]]:
    """The settings and all problems; where there are some, defaults stand in for the values that are wrong."""
    try:
        settings, problems, wrong = ProjectSettings.model_validate(raw), list[Problem](), set[str]()
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [_field_problem(detail["loc"], detail) for detail in details]
        wrong = {joined(_key(detail["loc"])) for detail in details}
        settings = ProjectSettings.model_validate(_without(raw, [detail["loc"] for detail in details]))
    for rule in RULES:
        if not any(_touches(key, path) for key in rule.keys for path in wrong):
            problems.extend(rule.check(settings))
    return settings, problems


def _field_problem(location: tuple[str | int, ...], detail: Mapping[str, Any]) -> Problem:
    path, value = joined(location), detail["input"]
    if detail["type"] == ERROR_TYPE:
        return Problem(path, str(detail["ctx"]["problem"]))
    group = _group_at(location if detail["type"] == "model_type" else location[:-1])
    keys = sorted(field.alias or name for name, field in group.model_fields.items())
    if detail["type"] == "missing":
        return problem(path, "is missing", f"an object with the keys {', '.join(keys)}")
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), keys, n=1)
        hint = _RETIRED.get(path) or (f"did you mean {near[0]}?" if near else "")
        return problem(path, "is not a known key" + (f" ({hint})" if hint else ""), ", ".join(keys))
    return problem(path, f"{shown(value)} is not an object", f"an object with the keys {', '.join(keys)}")


def _group_at(location: Iterable[str | int]) -> type[BaseModel]:
    """The model of the object at a path of JSON keys and list positions."""
    model: type[BaseModel] = ProjectSettings
    for key in location:
        if isinstance(key, int):
            continue
        annotation = next(field.annotation for field in model.model_fields.values() if field.alias == key)
        entry = next(iter(get_args(annotation)), annotation)
        if not (isinstance(entry, type) and issubclass(entry, BaseModel)):
            raise LookupError(f"{key} is not a group of settings")
        model = entry
    return model


def _key(location: tuple[str | int, ...]) -> list[str]:
    """The part of a location that leads to a setting: all of it, or up to the list that something is wrong in."""
    return [str(part) for part in itertools.takewhile(lambda part: isinstance(part, str), location)]


def _without(raw: dict[str, Any], locations: Iterable[tuple[str | int, ...]]) -> dict[str, Any]:
    """A copy of `raw` that lacks the settings at `locations`; of a list, the whole list."""
    result: dict[str, Any] = json.loads(json.dumps(raw, default=str))
    for location in locations:
        keys = _key(location)
        place = result
        for key in keys[:-1]:
            place = place.get(key, {})
        place.pop(keys[-1], None)
    return result


def _touches(key: str, path: str) -> bool:
    return key == path or key.startswith(f"{path}.")
