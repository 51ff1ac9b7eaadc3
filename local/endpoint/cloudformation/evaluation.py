"""What a template's conditions, rules and intrinsic functions come to, given what is known so far."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from local.endpoint.account import ACCOUNT, PARTITION, REGION, ZONES
from local.endpoint.cloudformation.template import Template, TemplateError, substitute

_NO_VALUE = object()


class Evaluation:
    """Evaluates parts of `template`. `reference` and `attribute` tell of resources; `exports` of other stacks."""

    def __init__(
        self,
        template: Template,
        *,
        stack_name: str,
        stack_id: str,
        parameters: Mapping[str, Any],
        reference: Callable[[str], str],
        attribute: Callable[[str, str], Any],
        exports: Mapping[str, str],
    ) -> None:
        self._template = template
        self._reference, self._attribute, self._exports = reference, attribute, exports
        self._values: dict[str, Any] = {
            **parameters,
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": _NO_VALUE,
            "AWS::NotificationARNs": [],
            "AWS::Partition": PARTITION,
            "AWS::Region": REGION,
            "AWS::StackId": stack_id,
            "AWS::StackName": stack_name,
            "AWS::URLSuffix": "amazonaws.com",
        }
        self._functions: Mapping[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::Base64": lambda text: base64.b64encode(str(self._value(text)).encode()).decode(),
            "Fn::FindInMap": self._find_in_map,
            "Fn::GetAZs": lambda _: list(ZONES),
            "Fn::GetAtt": self._get_attribute,
            "Fn::If": lambda branches: self._value(branches[1] if self.condition(branches[0]) else branches[2]),
            "Fn::ImportValue": self._import,
            "Fn::Join": lambda parts: str(parts[0]).join(str(part) for part in self._value(parts[1])),
            "Fn::Select": lambda parts: self._value(parts[1])[int(self._value(parts[0]))],
            "Fn::Split": lambda parts: self._value(parts[1]).split(parts[0]),
            "Fn::Sub": self._sub,
            "Fn::ToJsonString": lambda value: json.dumps(self._value(value)),
        }

    def value(self, part: Any) -> Any:
        """The part with its functions carried out and what is `AWS::NoValue` left out."""
        found = self._value(part)
        return None if found is _NO_VALUE else found

    def condition(self, name: str) -> bool:
        """Whether the condition `name` holds."""
        if name not in self._template.conditions:
            raise TemplateError(f"Template error: unresolved condition dependency {name}")
        return self._holds(self._template.conditions[name])

    def wanted(self, entry: Mapping[str, Any]) -> bool:
        """Whether a resource or output is to be there."""
        return "Condition" not in entry or self.condition(entry["Condition"])

    def check_rules(self) -> None:
        """Raises `TemplateError` with the description of an assertion that does not hold."""
        for name, rule in self._template.document.get("Rules", {}).items():
            if "RuleCondition" in rule and not self._holds(rule["RuleCondition"]):
                continue
            for assertion in rule["Assertions"]:
                if not self._holds(assertion["Assert"]):
                    raise TemplateError(
                        f"Template constraints violated: rule {name}: {assertion.get('AssertDescription', '')}"
                    )

    def _value(self, part: Any) -> Any:
        if isinstance(part, list):
            return [found for found in map(self._value, part) if found is not _NO_VALUE]
        if not isinstance(part, dict):
            return part
        if len(part) == 1:
            ((name, argument),) = part.items()
            if name in self._functions:
                return self._functions[name](argument)
            if name.startswith("Fn::"):
                raise TemplateError(f"Template error: the local endpoint does not know the function {name}")
        found = {key: self._value(entry) for key, entry in part.items()}
        return {key: entry for key, entry in found.items() if entry is not _NO_VALUE}

    def _ref(self, name: str) -> Any:
        return self._values[name] if name in self._values else self._reference(name)

    def _get_attribute(self, argument: Any) -> Any:
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        return self._attribute(name, str(self._value(attribute)))

    def _find_in_map(self, path: list[Any]) -> Any:
        found = self._template.document.get("Mappings", {})
        for key in path:
            found = found[self._value(key)]
        return found

    def _import(self, name: Any) -> str:
        name = self._value(name)
        if name not in self._exports:
            raise TemplateError(f"No export named {name} found")
        return self._exports[name]

    def _sub(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        own = {name: self._value(value) for name, value in own.items()}

        def lookup(name: str) -> Any:
            if name in own:
                return own[name]
            return self._get_attribute(name) if "." in name else self._ref(name)

        return substitute(text, lookup)

    def _holds(self, condition: Any) -> bool:
        ((name, argument),) = condition.items()
        if name == "Condition":
            return self.condition(argument)
        if name == "Fn::Not":
            return not self._holds(argument[0])
        if name == "Fn::And":
            return all(self._holds(part) for part in argument)
        if name == "Fn::Or":
            return any(self._holds(part) for part in argument)
        if name == "Fn::Equals":
            return str(self._value(argument[0])) == str(self._value(argument[1]))
        if name == "Fn::Contains":
            return str(self._value(argument[1])) in map(str, self._value(argument[0]))
        raise TemplateError(f"Template error: {name} is no condition that the local endpoint knows")
