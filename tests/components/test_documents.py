"""The component documents: valid by AWS's schema, every parameter used, every numbered script run, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from local.document import Document, ExecuteBash, parse_document
from local.errors import DocumentError
from tests.components.component_support import COMPONENT, NUMBERED, PARAMETERS

BUILD_DOCUMENT = COMPONENT / "component.yaml"
TEST_DOCUMENT = COMPONENT / "test_component.yaml"


def read(path: Path) -> Document:
    return parse_document(path.read_text(), path.name)


@pytest.fixture(scope="module")
def document() -> Document:
    return read(BUILD_DOCUMENT)


def used_parameters(path: Path) -> set[str]:
    return set(re.findall(r"\{\{ *([A-Za-z0-9_-]+) *\}\}", path.read_text()))


def commands(document: Document, phase: str) -> str:
    found = document.phase(phase)
    assert found
    return "\n".join("\n".join(step.inputs.commands) for step in found.steps if isinstance(step, ExecuteBash))


def snake(name: str) -> str:
    """OAuthProxyBindPort → OAUTH_PROXY_BIND_PORT."""
    return re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", name.replace("OAuth", "Oauth")).upper()


def test_build_document_builds_and_validates(document: Document) -> None:
    assert [phase.name for phase in document.phases] == ["build", "validate"]


def test_test_document_has_the_test_phase_alone() -> None:
    found = read(TEST_DOCUMENT)
    assert [phase.name for phase in found.phases] == ["test"]
    assert not found.parameters


def test_every_declared_parameter_is_used_and_every_used_one_declared(document: Document) -> None:
    assert used_parameters(BUILD_DOCUMENT) == set(document.parameters)


def test_every_parameter_but_the_asset_has_a_default_that_the_scripts_accept(document: Document) -> None:
    defaults = {snake(name): parameter.default for name, parameter in document.parameters.items()}
    assert defaults.pop("ASSET_URL") is None
    expected = {**PARAMETERS, "NGINX_BUILD": "source"}
    expected.pop("ASSET_URL")
    assert defaults == expected


def test_every_parameter_reaches_the_parameter_script_under_its_own_name(document: Document) -> None:
    handed = dict(re.findall(r"'([A-Z_]+)=\{\{ ([A-Za-z]+) \}\}'", commands(document, "build")))
    assert {variable: snake(name) for variable, name in handed.items()} == {name: name for name in PARAMETERS}


def test_parameters_stand_in_no_command_but_as_quoted_arguments(document: Document) -> None:
    text = commands(document, "build") + commands(document, "validate")
    unquoted = re.sub(r"'[A-Z_]+=\{\{ [A-Za-z]+ \}\}'", "", text)
    assert "{{" not in unquoted


def test_every_numbered_script_runs_once_and_in_order(document: Document) -> None:
    called = re.findall(r"/install/(\d\d-[a-z-]+\.sh)", commands(document, "build"))
    assert called == [script.name for script in NUMBERED]


def test_build_leaves_no_working_files(document: Document) -> None:
    assert "rm -rf /var/tmp/secure-proxy" in commands(document, "build").splitlines()[-1]


@pytest.mark.parametrize("path", [BUILD_DOCUMENT, TEST_DOCUMENT], ids=lambda path: path.name)
def test_an_action_that_we_do_not_use_is_refused(path: Path) -> None:
    text = path.read_text().replace("action: ExecuteBash", "action: ExecutePowerShell", 1)
    with pytest.raises(DocumentError):
        parse_document(text, path.name)
