"""The synthesized template, made once a run and context, and what its intrinsic functions come to."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import app
from stacks.names import STACK

REPOSITORY = Path(__file__).resolve().parents[1]
REGION = "eu-central-1"
ACCOUNT = "111122223333"
_PSEUDO_PARAMETERS = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}


class Template:
    """A CloudFormation template, with what tests ask of it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.resources: dict[str, dict[str, Any]] = document["Resources"]

    def of_type(self, resource_type: str) -> dict[str, dict[str, Any]]:
        """The resources of a type by logical id."""
        return {name: entry for name, entry in self.resources.items() if entry["Type"] == resource_type}

    def one(self, resource_type: str, part_of_path: str = "") -> tuple[str, dict[str, Any]]:
        """The one resource of a type whose construct path holds `part_of_path`: its logical id and its properties."""
        found = [
            (name, entry["Properties"])
            for name, entry in self.of_type(resource_type).items()
            if part_of_path in self.path(name)
        ]
        assert len(found) == 1, f"{len(found)} resources of type {resource_type} at {part_of_path!r}"
        return found[0]

    def path(self, logical_id: str) -> str:
        """Where in the app a resource was made."""
        return str(self.resources[logical_id].get("Metadata", {}).get("aws:cdk:path", ""))

    def resolve(self, value: Any) -> Any:
        """The value with its intrinsic functions carried out; what only a deployment knows becomes `<id.attribute>`."""
        if isinstance(value, list):
            return [self.resolve(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return _PSEUDO_PARAMETERS.get(argument, f"<{argument}>")
            if function == "Fn::GetAtt":
                return f"<{argument[0]}.{argument[1]}>"
            if function == "Fn::Join":
                return argument[0].join(str(self.resolve(part)) for part in argument[1])
            if function == "Fn::Sub":
                return self._substituted(argument)
            if function == "Fn::Base64":
                return self.resolve(argument)
        return {key: self.resolve(entry) for key, entry in value.items()}

    def _substituted(self, text: str) -> str:
        for name, value in _PSEUDO_PARAMETERS.items():
            text = text.replace(f"${{{name}}}", value)
        return text

    def walk(self) -> Iterator[tuple[str, Any]]:
        """Every object inside the template's resources, with the logical id of its resource."""
        for name, entry in self.resources.items():
            for node in _nodes(entry):
                yield name, node


def _nodes(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(part)


def template(**context: str) -> Template:
    """The template as `cdk synth -c key=value …` makes it. With `checks="true"`, findings of cdk-nag are an error."""
    return _template(tuple(sorted(context.items())))


@cache
def _template(context: tuple[tuple[str, str], ...]) -> Template:
    directory = Path(tempfile.mkdtemp(prefix="secure-proxy-synthesis-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    synthesize(dict(context), directory)
    return Template(json.loads((directory / f"{STACK}.template.json").read_text(encoding="utf-8")))


def synthesize(context: Mapping[str, Any], directory: Path) -> None:
    """Synthesizes in this process, with the context of `cdk.json` as the CDK CLI would add it."""
    standing = json.loads((REPOSITORY / "cdk.json").read_text(encoding="utf-8"))["context"]
    app.build_app(context={**standing, "aws:cdk:enable-path-metadata": True, **context}, outdir=str(directory)).synth()
