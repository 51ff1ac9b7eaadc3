"""Image Builder component documents: their text, and the parameters that each declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

# CloudFormation's bound of a component's inline data.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-imagebuilder-component.html
_MAX_CHARACTERS = 16_000


@dataclass(frozen=True)
class ComponentDocument:
    """A document as it stands in the repository."""

    name: str
    description: str
    text: str
    parameters: frozenset[str]
    required: frozenset[str]  # parameters without a default

    @classmethod
    def read(cls, path: Path) -> ComponentDocument:
        """The document at `path`. Raises `ValueError` when it is too long to travel inside the template."""
        text = path.read_text(encoding="utf-8")
        if len(text) > _MAX_CHARACTERS:
            raise ValueError(f"{path} has {len(text)} characters; CloudFormation takes {_MAX_CHARACTERS} at most")
        document = yaml.safe_load(text)
        declared: dict[str, dict[str, object]] = {}
        for parameter in document.get("parameters", []):
            declared.update(parameter)
        return cls(
            name=document["name"],
            description=document["description"],
            text=text,
            parameters=frozenset(declared),
            required=frozenset(name for name, form in declared.items() if "default" not in form),
        )

    def select(self, values: Mapping[str, str]) -> dict[str, str]:
        """Those of `values` that the document declares. Raises `ValueError` when a required one is missing."""
        missing = sorted(self.required - values.keys())
        if missing:
            raise ValueError(f"component {self.name} needs the parameters {', '.join(missing)}")
        return {name: value for name, value in values.items() if name in self.parameters}


def refuse_unknown_parameters(values: Mapping[str, str], *documents: ComponentDocument) -> None:
    """Raises `ValueError` when a value is meant for a parameter that none of the documents declares."""
    unknown = sorted(values.keys() - frozenset().union(*(document.parameters for document in documents)))
    if unknown:
        names = " and ".join(document.name for document in documents)
        raise ValueError(f"components {names} know no parameter {', '.join(unknown)}")
