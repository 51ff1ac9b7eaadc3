"""Templates: reading, parameters, conditions, rules, intrinsic functions, order of resources.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import yaml
from moto.cloudformation.utils import yaml_tag_constructor

from local.endpoint.services import ServiceError

_SUBSTITUTION = re.compile(r"\$\{(!?)([^}]+)\}")


class TemplateError(ServiceError):
    """The template, or a value for it, is not acceptable; nothing has been changed."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationError", message)


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms such as `!Ref`."""


_Loader.add_multi_constructor("", yaml_tag_constructor)  # type: ignore[no-untyped-call]


class Template:
    """A template as it was given: `body`, and what it says."""

    def __init__(self, body: str) -> None:
        self.body = body
        document = json.loads(body) if body.lstrip().startswith("{") else yaml.load(body, _Loader)  # noqa: S506
        if not isinstance(document, dict) or not document.get("Resources"):
            raise TemplateError("Template format error: At least one Resources member must be defined.")
        self.document: dict[str, Any] = document
        self.resources: dict[str, dict[str, Any]] = document["Resources"]
        self.parameters: dict[str, dict[str, Any]] = document.get("Parameters", {})
        self.conditions: dict[str, Any] = document.get("Conditions", {})
        self.outputs: dict[str, dict[str, Any]] = document.get("Outputs", {})
        self.description = str(document.get("Description", ""))
        self._check_references()

    @property
    def types(self) -> set[str]:
        """The types of its resources."""
        return {entry["Type"] for entry in self.resources.values()}

    def order(self) -> list[str]:
        """The logical ids of all resources, each after those that it needs."""
        return list(TopologicalSorter(self._dependencies()).static_order())

    def _dependencies(self) -> dict[str, set[str]]:
        found = {}
        for name, entry in self.resources.items():
            explicit = entry.get("DependsOn", [])
            needed = {explicit} if isinstance(explicit, str) else set(explicit)
            found[name] = (needed | set(references(entry))) & self.resources.keys()
        return found

    def _check_references(self) -> None:
        known = self.resources.keys() | self.parameters.keys()
        for name, entry in {**self.resources, **self.outputs}.items():
            for reference in references(entry):
                if reference not in known and not reference.startswith("AWS::"):
                    raise TemplateError(
                        f"Template format error: Unresolved resource dependencies [{reference}] in {name}"
                    )
        try:
            self.order()
        except CycleError as error:
            raise TemplateError(f"Circular dependency between resources: [{', '.join(error.args[1])}]") from None


def references(value: Any) -> Iterator[str]:
    """What a part of a template refers to: logical ids, parameters, pseudo parameters."""
    if isinstance(value, list):
        for entry in value:
            yield from references(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key == "Ref" and len(value) == 1:
                yield entry
            elif key == "Fn::GetAtt" and len(value) == 1:
                yield (entry.split(".") if isinstance(entry, str) else entry)[0]
            elif key == "Fn::Sub" and len(value) == 1:
                text, names = entry if isinstance(entry, list) else (entry, {})
                for escaped, name in _SUBSTITUTION.findall(text):
                    if not escaped and name not in names:
                        yield name.split(".")[0]
                yield from references(names)
            else:
                yield from references(entry)


def substitute(text: str, lookup: Any) -> str:
    """`Fn::Sub`: `${name}` becomes `lookup(name)`, `${!name}` stays as `${name}`."""
    return _SUBSTITUTION.sub(lambda found: "${" + found[2] + "}" if found[1] else str(lookup(found[2])), text)


def parameter_values(
    template: Template, given: Mapping[str, str], stored: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, Any]]:
    """The values of all parameters as given or by default, and as `Ref` gives them.

    `stored` are Systems Manager parameters, for parameters whose type asks for one. Raises `TemplateError`.
    """
    unknown = sorted(given.keys() - template.parameters.keys())
    if unknown:
        raise TemplateError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    texts = {name: given.get(name, declared.get("Default")) for name, declared in template.parameters.items()}
    missing = sorted(name for name, text in texts.items() if text is None)
    if missing:
        raise TemplateError(f"Parameters: [{', '.join(missing)}] must have values")
    values = {name: str(text) for name, text in texts.items()}
    for name, text in values.items():
        _check_value(name, text, template.parameters[name])
    return values, {name: _typed(name, values[name], template.parameters[name], stored) for name in values}


def _check_value(name: str, text: str, declared: Mapping[str, Any]) -> None:
    pattern, allowed = declared.get("AllowedPattern"), declared.get("AllowedValues")
    explanation = declared.get("ConstraintDescription")
    if pattern and not re.fullmatch(pattern, text):
        raise TemplateError(f"Parameter {name} failed to satisfy constraint: {explanation or pattern}")
    if allowed and text not in map(str, allowed):
        raise TemplateError(
            f"Parameter {name} failed to satisfy constraint: {explanation or f'must be one of {allowed}'}"
        )


def _typed(name: str, text: str, declared: Mapping[str, Any], stored: Mapping[str, str]) -> Any:
    kind = declared["Type"]
    if kind.startswith("AWS::SSM::Parameter::Value<"):
        if text not in stored:
            raise TemplateError(f"Unable to fetch parameters [{text}] from parameter store for this account.")
        text, kind = stored[text], kind.partition("<")[2]
    if kind.startswith(("CommaDelimitedList", "List<")):
        return text.split(",") if text else []
    if kind == "Number":
        try:
            return int(text)
        except ValueError:
            raise TemplateError(f"Parameter {name} must be a number, not {text!r}") from None
    return text
