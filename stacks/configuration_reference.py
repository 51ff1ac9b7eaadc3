"""The reference of all settings, made from their models.

`.venv/bin/python -m stacks.configuration_reference > docs/configuration.md`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stacks.settings_group import Effect
from stacks.settings_models import ProjectSettings
from stacks.settings_rules import RULES
from stacks.settings_types import Kind, ListKind, ObjectListKind, Optional

_INTRODUCTION = f"""\
# Configuration

<!-- Made by `.venv/bin/python -m stacks.configuration_reference > docs/configuration.md`: edit the models. -->

Settings stand in `cdk.json` under the top-level key `projectSettings`. Every key is optional and has the default shown
here. Numbers may be written as JSON numbers or as strings of digits, as older files do.

All settings are checked before anything is built: an unknown key, a wrong type, a value out of range or a combination
that cannot work stops with one line per problem, of the form

    cdk.json: projectSettings.<path>: what is wrong, allowed: what is allowed

## One deployment with other settings

`bash deploy.sh -c KEY=VALUE`, or `cdk synth -c KEY=VALUE`, overrides a setting without touching the file:
`-c projectSettings.proxyFleet.minCapacity=3`. A value that reads as JSON is taken for that: `8`, `true`, `["a"]`. Give
the same to every deployment, or the next one returns to `cdk.json`. Three keys choose how images are built:

- `nginxBuild`: `source` (the default) compiles NGINX from the commits of `sources.lock`; `distribution` takes it from
  the packages of Debian or Ubuntu, for machines that reach package mirrors alone.
- `sourceBaseUrl`: where the source build clones `owner/name` from, an `https://` or `file://` URL without a slash at
  its end; `https://github.com` by default.
- `mockRuntime`: how the mock servers run, `docker` (the default) or `native` for machines without it.

`deploy.sh` refuses any other key; the CDK CLI by itself ignores it.

## Rules that join several settings

{"".join(f"- {rule.text}{chr(10)}" for rule in RULES)}\
- Images built with `NginxBuild=distribution` have neither bridge `websockify` nor provider `openidc`.

## When a change takes effect

- **{Effect.STACK}**: with the next deployment of the CloudFormation stack.
- **{Effect.ROLLOUT}**: with the next deployment, once its images are built.
- **{Effect.BOTH}**: the stack has the new value at once, machines have it with their next image; until that
  is rolled out, what runs does not fit. [Operations](operations.md#changes-that-interrupt) says what that means.
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
        for field in model.model_fields.values():
            yield from _entries(field, f"{prefix}{field.alias}")
    for key, group in groups:
        yield from _sections(group, f"{key}.")


def _entries(field: FieldInfo, key: str) -> Iterator[str]:
    """The keys of the objects that a list holds, as a list of their own."""
    model = next(iter(get_args(field.annotation)), None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return
    lines = [f"Each of `{key}`: {model.__doc__}", ""]
    for entry in model.model_fields.values():
        kind = _kind(entry)
        default = "required" if entry.is_required() else f"default `{_default(entry)}`"
        lines.append(f"- `{entry.alias}` ({kind.name}, {default}): {entry.description} Allowed: {kind.allowed}.")
    yield "\n".join(lines) + "\n"
    for entry in model.model_fields.values():
        yield from _entries(entry, f"{key}[].{entry.alias}")


def _kind(field: FieldInfo) -> Kind | ListKind | ObjectListKind | Optional:
    return next(entry for entry in field.metadata if isinstance(entry, Kind | ListKind | ObjectListKind | Optional))


def _default(field: FieldInfo) -> str:
    return json.dumps(field.get_default(call_default_factory=False))


def _row(key: str, field: FieldInfo) -> str:
    kind = _kind(field)
    extra = field.json_schema_extra
    effect = extra["effect"] if isinstance(extra, dict) else ""
    cells = (f"`{key}`", kind.name, f"`{_default(field)}`", kind.allowed, field.description or "", str(effect))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(reference())
