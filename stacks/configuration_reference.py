"""The reference of all settings, made from their models.

`python -m stacks.configuration_reference > docs/configuration.md`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stacks.settings_models import Effect, ProjectSettings
from stacks.settings_rules import RULES
from stacks.settings_types import Kind, ListKind

_INTRODUCTION = f"""\
# Configuration

<!-- Made by `python -m stacks.configuration_reference > docs/configuration.md`. A test compares; edit the models. -->

Settings stand in `cdk.json` under the top-level key `projectSettings`. Every key is optional and has the default shown
here. Numbers may be written as JSON numbers or as strings of digits, as older files do.

All settings are checked before anything is built: an unknown key, a wrong type, a value out of range or a combination
that cannot work stops with one line per problem, of the form

    cdk.json: projectSettings.<path>: what is wrong, allowed: what is allowed

## Rules that join several settings

{"".join(f"- {rule.text}{chr(10)}" for rule in RULES)}\
- Images built with `NginxBuild=distribution` have neither bridge `websockify` nor provider `openidc`.

## When a change takes effect

- **{Effect.STACK}**: with the next deployment of the CloudFormation stack.
- **{Effect.IMAGE}**: with the next image, which `deploy.sh` builds and rolls out.
- **{Effect.BOOT}**: when an instance starts after the next deployment; running ones keep what they were told.
"""


def reference() -> str:
    """The whole of `docs/configuration.md`."""
    return "\n".join([_INTRODUCTION, *_sections(ProjectSettings, "")])


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    rows = []
    groups: list[tuple[str, type[BaseModel]]] = []
    for field in model.model_fields.values():
        key = f"{prefix}{field.alias}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            groups.append((key, field.annotation))
        else:
            rows.append(_row(key, field))
    if rows:
        yield f"## `{prefix.removesuffix('.')}`\n\n{model.__doc__}\n"
        yield "| key | type | default | allowed | what it does | takes effect |\n|---|---|---|---|---|---|"
        yield "\n".join(rows) + "\n"
    for key, group in groups:
        yield from _sections(group, f"{key}.")


def _row(key: str, field: FieldInfo) -> str:
    kind = next(entry for entry in field.metadata if isinstance(entry, Kind | ListKind))
    extra = field.json_schema_extra
    effect = extra["effect"] if isinstance(extra, dict) else ""
    default = json.dumps(field.get_default(call_default_factory=False))
    cells = (f"`{key}`", kind.name, f"`{default}`", kind.allowed, field.description or "", str(effect))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(reference())
