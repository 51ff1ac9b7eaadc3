"""The component documents: AWS's schema, one parameter list, nothing but the agreed actions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stacks.component_parameters import mock_parameters
from stacks.settings import load_settings

from .support import COMPONENT

BUILD, TEST = COMPONENT / "component.yaml", COMPONENT / "test_component.yaml"
# https://docs.aws.amazon.com/imagebuilder/latest/userguide/toe-use-documents.html#document-schema and
# toe-user-defined-variables.html, as far as these documents use it.
NAME = {"type": "string", "pattern": "^[A-Za-z0-9_-]{3,128}$"}
STEP = {
    "type": "object",
    "required": ["name", "action", "inputs"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        "action": {"enum": ["S3Download", "ExecuteBash"]},
        "timeoutSeconds": {"type": "integer", "minimum": 1},
        "maxAttempts": {"type": "integer", "minimum": 1},
        "onFailure": {"enum": ["Abort", "Continue", "Ignore"]},
        "inputs": {},
    },
    "allOf": [
        {
            "if": {"properties": {"action": {"const": "ExecuteBash"}}},
            "then": {
                "properties": {
                    "inputs": {
                        "type": "object",
                        "required": ["commands"],
                        "additionalProperties": False,
                        "properties": {"commands": {"type": "array", "minItems": 1, "items": {"type": "string"}}},
                    }
                }
            },
            "else": {
                "properties": {
                    "inputs": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["source", "destination"],
                            "additionalProperties": False,
                            "properties": {
                                "source": {"type": "string"},
                                "destination": {"type": "string"},
                                "overwrite": {"type": "boolean"},
                                "expectedBucketOwner": {"type": "string"},
                            },
                        },
                    }
                }
            },
        }
    ],
}
DOCUMENT = {
    "type": "object",
    "required": ["name", "schemaVersion", "phases"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "schemaVersion": {"const": 1.0},
        "parameters": {
            "type": "array",
            "items": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "propertyNames": NAME,
                "additionalProperties": {
                    "type": "object",
                    "required": ["type"],
                    "additionalProperties": False,
                    "properties": {
                        "type": {"const": "string"},
                        "default": {"type": "string"},
                        "description": {"type": "string"},
                    },
                },
            },
        },
        "phases": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "steps"],
                "additionalProperties": False,
                "properties": {
                    "name": {"enum": ["build", "validate", "test"]},
                    "steps": {"type": "array", "minItems": 1, "items": STEP},
                },
            },
        },
    },
}


def document(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for phase in document(path)["phases"] for step in phase["steps"]]


def parameter_names(path: Path) -> list[str]:
    return [name for parameter in document(path).get("parameters", []) for name in parameter]


@pytest.mark.parametrize("path", [BUILD, TEST], ids=lambda path: path.name)
def test_follows_the_schema_of_component_documents(path: Path) -> None:
    jsonschema.validate(document(path), DOCUMENT)


def test_the_phases_are_build_and_validate_and_in_a_document_of_its_own_test() -> None:
    assert [phase["name"] for phase in document(BUILD)["phases"]] == ["build", "validate"]
    assert [phase["name"] for phase in document(TEST)["phases"]] == ["test"]


def test_the_parameters_are_those_that_the_settings_provide() -> None:
    provided = mock_parameters(load_settings(), runtime="native", asset_url="s3://bucket/asset.zip")
    assert set(parameter_names(BUILD)) == set(provided)


def test_the_test_document_needs_nothing() -> None:
    assert parameter_names(TEST) == []
    assert "{{" not in TEST.read_text(encoding="utf-8")


def test_every_parameter_is_used_and_every_reference_is_a_parameter() -> None:
    references = re.findall(r"\{\{\s*([^}]*?)\s*\}\}", BUILD.read_text(encoding="utf-8"))
    assert set(references) == set(parameter_names(BUILD))


@pytest.mark.parametrize("path", [BUILD, TEST], ids=lambda path: path.name)
def test_step_names_are_unique(path: Path) -> None:
    names = [step["name"] for step in steps(path)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", [BUILD, TEST], ids=lambda path: path.name)
def test_a_command_that_fails_fails_its_step(path: Path) -> None:
    """All commands of a step are one shell script, and its exit code is that of the last one."""
    for step in steps(path):
        assert step.get("onFailure", "Abort") == "Abort"
        commands = step["inputs"]["commands"] if step["action"] == "ExecuteBash" else []
        for command in commands:
            assert len(commands) == 1
            assert "\n" not in command or command.startswith("set -euo pipefail\n")


def test_the_scripts_that_the_document_runs_exist_and_no_other_is_left_over() -> None:
    named = set(re.findall(r"/var/tmp/mock-servers/(install/[\w-]+\.sh)", BUILD.read_text(encoding="utf-8")))
    numbered = {f"install/{path.name}" for path in (COMPONENT / "install").glob("[0-9]*.sh")}
    assert named == numbered


def test_every_step_has_a_bound() -> None:
    assert all("timeoutSeconds" in step for path in (BUILD, TEST) for step in steps(path))
